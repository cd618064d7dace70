// Softmax and its logarithm along one dimension.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

namespace op {

// What kernels get: contiguous tensors seen as [outer, n, inner], normalised over n. f32, f64 or bf16.
struct SoftmaxFwd {
  static constexpr std::string_view op = "softmax_fwd";
  int64_t outer = 0, n = 0, inner = 0;
  bool log = false;
  CView x;
  View y;
};
struct SoftmaxBwd {  // gx = y * (gy - sum(gy * y)), or for the logarithm gy - exp(y) * sum(gy)
  static constexpr std::string_view op = "softmax_bwd";
  int64_t outer = 0, n = 0, inner = 0;
  bool log = false;
  CView y, gy;
  View gx;
};

}  // namespace op

// exp(x - max) / sum(exp(x - max)) along `dim` (negative dims count from the end); any rank from 1. f32, f64, bf16.
// Differentiable. Throws ShapeError, DTypeError.
Tensor softmax(const Tensor& x, int dim);
// x - max - log(sum(exp(x - max))): finite where softmax would underflow. Otherwise like softmax.
Tensor log_softmax(const Tensor& x, int dim);

namespace opdef {
extern const OpDef softmax, log_softmax;
}

}  // namespace mininn
