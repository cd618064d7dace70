// Parameter updates of optimizers: one pass over memory per tensor, in place. Not differentiable.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/tensor.h"

namespace mininn {

namespace op {

// What kernels get: arrays of n elements without gaps, all in the same order, f32 or f64. The coefficients are rounded
// to the elements' type first; then each operation written here is rounded on its own, so kernels agree to the bit.
//
//   d = grad + weight_decay * param
//   b = first ? d : momentum * b + (1 - dampening) * d      only if there is a buffer b
//   d = nesterov ? d + momentum * b : b                     only if there is a buffer b
//   param -= lr * d
struct SgdUpdate {
  static constexpr std::string_view op = "sgd_update";
  int64_t n = 0;
  DType dtype = DType::f32;
  View param = {};
  CView grad = {};
  View buffer = {};    // the momentum, or absent
  bool first = false;  // the buffer's content means nothing yet
  bool nesterov = false;
  double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
};

//   d = grad + l2 * param
//   m = m + (1 - beta1) * (d - m)
//   v = beta2 * v + (1 - beta2) * (d * d)
//   param = keep * param - (step_size * m) / (sqrt(v) / v_scale + eps)
struct AdamUpdate {
  static constexpr std::string_view op = "adam_update";
  int64_t n = 0;
  DType dtype = DType::f32;
  View param = {};
  CView grad = {};
  View m = {}, v = {};
  double l2 = 0, keep = 1;  // weight decay as part of the gradient, or decoupled from it: 1 - lr * weight_decay
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double step_size = 0, v_scale = 1;  // at step t: lr / (1 - beta1^t) and sqrt(1 - beta2^t)
};

}  // namespace op

// Runs an update whose coefficients `a` has: these functions fill in the rest. All tensors have one shape, dtype and
// device; `param` and the state tensors lie without gaps in one order and apart from each other, `grad` anyhow.
// `buffer` may be undefined. Throw ShapeError, DTypeError, DeviceError, ValueError (a coefficient that is not finite in
// that dtype, shared memory).
void sgd_update(Tensor& param, const Tensor& grad, Tensor& buffer, op::SgdUpdate a);
void adam_update(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, op::AdamUpdate a);

}  // namespace mininn
