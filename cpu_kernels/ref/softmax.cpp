#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/ref/elements.h"
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

template <class T>
void fwd(const SoftmaxFwd& a) {
  if (a.n == 0) return;
  for_lines(a, [&](int64_t offset) {
    const T* x = a.x.as<T>() + offset;
    T* y = a.y.as<T>() + offset;
    double max = to_double(x[0]), sum = 0;
    for (int64_t j = 1; j < a.n; ++j) max = std::max(max, to_double(x[j * a.inner]));
    for (int64_t j = 0; j < a.n; ++j) sum += std::exp(to_double(x[j * a.inner]) - max);
    const double log_sum = std::log(sum);
    for (int64_t j = 0; j < a.n; ++j) {
      const double v = to_double(x[j * a.inner]) - max;
      y[j * a.inner] = from_double<T>(a.log ? v - log_sum : std::exp(v) / sum);
    }
  });
}

template <class T>
void bwd(const SoftmaxBwd& a) {
  for_lines(a, [&](int64_t offset) {
    const T* y = a.y.as<T>() + offset;
    const T* gy = a.gy.as<T>() + offset;
    T* gx = a.gx.as<T>() + offset;
    double sum = 0;
    for (int64_t j = 0; j < a.n; ++j) sum += to_double(gy[j * a.inner]) * (a.log ? 1 : to_double(y[j * a.inner]));
    for (int64_t j = 0; j < a.n; ++j) {
      const double v = to_double(y[j * a.inner]), g = to_double(gy[j * a.inner]);
      gx[j * a.inner] = from_double<T>(a.log ? g - std::exp(v) * sum : v * (g - sum));
    }
  });
}

Refusal check_fwd(const SoftmaxFwd& a) { return check_floating(a.x.dtype); }
Refusal check_bwd(const SoftmaxBwd& a) { return check_floating(a.y.dtype); }

void run_fwd(const SoftmaxFwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { fwd<T>(a); });
}
void run_bwd(const SoftmaxBwd& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() { bwd<T>(a); });
}

}  // namespace

constinit const Kernel<SoftmaxFwd> softmax_fwd{"ref", check_fwd, run_fwd};
constinit const Kernel<SoftmaxBwd> softmax_bwd{"ref", check_bwd, run_bwd};

}  // namespace mininn::cpu::ref
