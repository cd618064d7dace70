// The classification loss: softmax and negative log-likelihood in one op.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

struct CrossEntropyOptions {
  double label_smoothing = 0;  // 0 <= s < 1: the target is (1 - s) * one_hot + s / C (Szegedy et al. 2016)
};
template <class F>
void each_field(CrossEntropyOptions& o, const F& field) {
  field("label_smoothing", o.label_smoothing);
}

namespace op {

// What kernels get: contiguous tensors, labels i64, everything else f32 or f64. Whether labels are in [0, c) is for
// kernels to see before they use one: the CPU's throw ValueError and write nothing; one that cannot throw makes the
// loss and the gradient NaN.
struct CrossEntropyFwd {
  static constexpr std::string_view op = "cross_entropy_fwd";
  int64_t n = 0, c = 0;  // n >= 1
  double label_smoothing = 0;
  CView logits, labels;  // [n, c], [n]
  View probs;            // [n, c]: softmax(logits), for backward
  View loss;             // one element: the mean over n
};
struct CrossEntropyBwd {  // gx = gy * (probs - target) / n
  static constexpr std::string_view op = "cross_entropy_bwd";
  int64_t n = 0, c = 0;
  double label_smoothing = 0;
  CView probs, labels, gy;  // gy has one element
  View gx;
};

}  // namespace op

// Mean over the batch of -sum(target * log_softmax(logits)): [N,C], labels i64 [N] -> scalar. f32, f64. Differentiable
// in the logits. Throws ShapeError, DTypeError, DeviceError, ValueError (a bad smoothing, and from the kernel a label
// outside [0, C)).
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o = {});

namespace opdef {
extern const OpDef cross_entropy;
}

}  // namespace mininn
