#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

// fn(offset of the first element) for every line along n; its neighbours are `inner` apart.
template <class Args, class Fn>
void for_lines(const Args& a, const Fn& fn) {
  parallel_for(a.outer * a.inner, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i / a.inner * a.n * a.inner + i % a.inner);
  });
}

// Where a line's largest element is, the first one among equals.
template <class T, class Args>
int64_t largest(const T* line, const Args& a) {
  int64_t top = 0;
  for (int64_t j = 1; j < a.n; ++j)
    if (to_double(line[j * a.inner]) > to_double(line[top * a.inner])) top = j;
  return top;
}

template <class T>
void fwd(const op::SoftmaxFwd& a) {
  if (a.n == 0) return;
  for_lines(a, [&](int64_t offset) {
    const T* x = a.x.as<T>() + offset;
    T* y = a.y.as<T>() + offset;
    const int64_t top = largest(x, a);
    const double max = to_double(x[top * a.inner]);
    double others = 0;  // next to the largest, whose share is 1: small ones keep their digits
    for (int64_t j = 0; j < a.n; ++j) others += j == top ? 0 : std::exp(to_double(x[j * a.inner]) - max);
    const double log_sum = std::log1p(others);
    for (int64_t j = 0; j < a.n; ++j) {
      const double v = to_double(x[j * a.inner]) - max;
      y[j * a.inner] = from_double<T>(a.log ? v - log_sum : std::exp(v) / (1 + others));
    }
  });
}

// y * (gy - sum(gy * y)) cancels where a probability is nearly 1 and its gradient is what the others leave. They add up
// to 1, so gy may be taken relative to that element's, which then adds nothing.
template <class T>
void bwd(const op::SoftmaxBwd& a) {
  if (a.n == 0) return;
  for_lines(a, [&](int64_t offset) {
    const T* y = a.y.as<T>() + offset;
    const T* gy = a.gy.as<T>() + offset;
    T* gx = a.gx.as<T>() + offset;
    const double base = to_double(gy[largest(y, a) * a.inner]);
    double sum = 0;
    for (int64_t j = 0; j < a.n; ++j) sum += (to_double(gy[j * a.inner]) - base) * to_double(y[j * a.inner]);
    for (int64_t j = 0; j < a.n; ++j)
      gx[j * a.inner] = from_double<T>(to_double(y[j * a.inner]) * (to_double(gy[j * a.inner]) - base - sum));
  });
}

// The same for gy - exp(y) * sum(gy), where the largest exp(y) may be nearly 1 and its gy nearly the whole sum.
template <class T>
void log_bwd(const op::SoftmaxBwd& a) {
  if (a.n == 0) return;
  for_lines(a, [&](int64_t offset) {
    const T* y = a.y.as<T>() + offset;
    const T* gy = a.gy.as<T>() + offset;
    T* gx = a.gx.as<T>() + offset;
    const int64_t top = largest(y, a);
    const double top_y = to_double(y[top * a.inner]), top_g = to_double(gy[top * a.inner]);
    double others = 0;
    for (int64_t j = 0; j < a.n; ++j) others += j == top ? 0 : to_double(gy[j * a.inner]);
    for (int64_t j = 0; j < a.n; ++j)
      gx[j * a.inner] =
          from_double<T>(to_double(gy[j * a.inner]) - std::exp(to_double(y[j * a.inner])) * (others + top_g));
    gx[top * a.inner] = from_double<T>(-std::expm1(top_y) * top_g - std::exp(top_y) * others);
  });
}

Refusal check_fwd(const op::SoftmaxFwd& a) { return check_floating(a.x.dtype); }
Refusal check_bwd(const op::SoftmaxBwd& a) { return check_floating(a.y.dtype); }

void run_fwd(const op::SoftmaxFwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { fwd<T>(a); });
}
void run_bwd(const op::SoftmaxBwd& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() { a.log ? log_bwd<T>(a) : bwd<T>(a); });
}

}  // namespace

constinit const Kernel<op::SoftmaxFwd> softmax_fwd{"ref", kReference, check_fwd, run_fwd};
constinit const Kernel<op::SoftmaxBwd> softmax_bwd{"ref", kReference, check_bwd, run_bwd};

}  // namespace mininn::cpu::ref
