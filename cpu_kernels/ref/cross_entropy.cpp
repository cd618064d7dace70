#include <algorithm>
#include <cmath>

#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

// The probability that label smoothing wants for class j.
double target(int64_t j, int64_t label, int64_t c, double smoothing) {
  return smoothing / double(c) + (j == label ? 1 - smoothing : 0);
}

// Before anything is written, and in the calling thread: what is thrown passes through no loop that threads share.
void check_labels(const CView& labels, int64_t n, int64_t c) {
  for (int64_t i = 0; i < n; ++i)
    if (const int64_t label = labels.as<int64_t>()[i]; label < 0 || label >= c)
      throw ValueError(message("cross_entropy: label ", i, " is ", label, ", outside [0, ", c, ")"));
}

template <class T>
void fwd(const op::CrossEntropyFwd& a) {
  double loss = 0;
  for (int64_t i = 0; i < a.n; ++i) {
    const T* x = a.logits.as<T>() + i * a.c;
    T* p = a.probs.as<T>() + i * a.c;
    const int64_t label = a.labels.as<int64_t>()[i];
    const int64_t top = std::max_element(x, x + a.c) - x;
    const double max = to_double(x[top]);
    double others = 0;  // next to the largest, whose share is 1: small ones keep their digits
    for (int64_t j = 0; j < a.c; ++j) others += j == top ? 0 : std::exp(to_double(x[j]) - max);
    const double log_sum = std::log1p(others);
    for (int64_t j = 0; j < a.c; ++j) {
      const double v = to_double(x[j]) - max;
      p[j] = from_double<T>(std::exp(v) / (1 + others));
      const double t = target(j, label, a.c, a.label_smoothing);
      if (t > 0) loss -= t * (v - log_sum);  // 0 * -inf is no loss
    }
  }
  a.loss.as<T>()[0] = from_double<T>(loss / double(a.n));
}

template <class T>
void bwd(const op::CrossEntropyBwd& a) {
  const double scale = to_double(a.gy.as<T>()[0]) / double(a.n);
  for (int64_t i = 0; i < a.n; ++i) {
    const int64_t label = a.labels.as<int64_t>()[i];
    T* gx = a.gx.as<T>() + i * a.c;
    double others = 0;  // probabilities and targets add up to 1: the label's p - t, which cancels, is what these leave
    for (int64_t j = 0; j < a.c; ++j) {
      if (j == label) continue;
      const double d = to_double(a.probs.as<T>()[i * a.c + j]) - target(j, label, a.c, a.label_smoothing);
      others += d;
      gx[j] = from_double<T>(scale * d);
    }
    gx[label] = from_double<T>(-scale * others);
  }
}

Refusal check(DType t) {
  return t == DType::f32 || t == DType::f64 ? Refusal{} : Refusal{"the dtype is not f32 or f64"};
}
Refusal check_fwd(const op::CrossEntropyFwd& a) { return check(a.logits.dtype); }
Refusal check_bwd(const op::CrossEntropyBwd& a) { return check(a.probs.dtype); }

void run_fwd(const op::CrossEntropyFwd& a, const ExecContext&) {
  check_labels(a.labels, a.n, a.c);
  a.logits.dtype == DType::f64 ? fwd<double>(a) : fwd<float>(a);
}
void run_bwd(const op::CrossEntropyBwd& a, const ExecContext&) {
  check_labels(a.labels, a.n, a.c);
  a.probs.dtype == DType::f64 ? bwd<double>(a) : bwd<float>(a);
}

}  // namespace

constinit const Kernel<op::CrossEntropyFwd> cross_entropy_fwd{"ref", kReference, check_fwd, run_fwd};
constinit const Kernel<op::CrossEntropyBwd> cross_entropy_bwd{"ref", kReference, check_bwd, run_bwd};

}  // namespace mininn::cpu::ref
