#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"
#include "ops/softmax_line.h"

namespace mininn::cpu::ref {
namespace {

// Before anything is written, and in the calling thread: what is thrown passes through no loop that threads share.
void check_labels(const CView& labels, int64_t n, int64_t c) {
  for (int64_t i = 0; i < n; ++i)
    if (const int64_t label = labels.as<int64_t>()[i]; label < 0 || label >= c)
      throw ValueError(message("cross_entropy: label ", i, " is ", label, ", outside [0, ", c, ")"));
}

template <class T>
void fwd(const op::CrossEntropyFwd& a) {
  double loss = 0;
  for (int64_t i = 0; i < a.n; ++i)
    loss += op::cross_entropy_row(a.logits.as<T>() + i * a.c, a.probs.as<T>() + i * a.c, a.c, a.labels.as<int64_t>()[i],
                                  a.label_smoothing);
  a.loss.as<T>()[0] = from_double<T>(loss / double(a.n));
}

template <class T>
void bwd(const op::CrossEntropyBwd& a) {
  const double scale = to_double(a.gy.as<T>()[0]) / double(a.n);
  for (int64_t i = 0; i < a.n; ++i)
    op::cross_entropy_row_grad(a.probs.as<T>() + i * a.c, a.gx.as<T>() + i * a.c, a.c, a.labels.as<int64_t>()[i],
                               a.label_smoothing, scale);
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
