// Batch normalisation (Ioffe and Szegedy 2015) over the channels of [N,C,H,W] or [N,C].
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

struct BatchNormOptions {
  bool training = false;
  double momentum = 0.1;  // share of the new batch in the running statistics
  double eps = 1e-5;
};
template <class F>
void each_field(BatchNormOptions& o, const F& field) {
  field("training", o.training);
  field("momentum", o.momentum);
  field("eps", o.eps);
}

namespace op {

// What kernels get. x, y, residual and their gradients are [rows, c] matrices without gaps: an [N,C] tensor, or a
// channels-last image with rows = N*H*W. They share one floating dtype; everything else is [c] contiguous, f64 if x is
// f64 and f32 otherwise.
struct BatchNormMoments {
  static constexpr std::string_view op = "batch_norm_moments";
  int64_t rows = 0, c = 0;  // rows >= 2
  CView x;
  double momentum = 0.1, eps = 1e-5;
  View mean, rstd;                 // of the batch; rstd = 1 / sqrt(biased variance + eps)
  View running_mean, running_var;  // updated in place: r += momentum * (new - r), new variance unbiased
};
struct BatchNormRstd {
  static constexpr std::string_view op = "batch_norm_rstd";
  CView var;
  double eps = 1e-5;
  View rstd;  // 1 / sqrt(var + eps)
};
struct BatchNormApply {
  static constexpr std::string_view op = "batch_norm_apply";
  int64_t rows = 0, c = 0;
  CView x, mean, rstd, gamma, beta;
  CView residual;  // absent: 0
  bool relu = false;
  View y;  // act((x - mean) * rstd * gamma + beta + residual); the same bits for the same operands
};
struct BatchNormBwd {
  static constexpr std::string_view op = "batch_norm_bwd";
  int64_t rows = 0, c = 0;
  CView x, gy, gamma, mean, rstd;
  CView y;               // absent if no ReLU followed: then gy stands as it is, and otherwise where y > 0
  bool training = true;  // false: mean and rstd are constants
  View gx;               // absent if not wanted
  View gresidual;        // absent if there was none, or it is not wanted
  View ggamma, gbeta;
};

}  // namespace op

// x normalised per channel, times gamma, plus beta; the result has the shape of x. While training, mean and variance
// are the batch's and the running ones are updated in place (without gradient; unbiased variance, as in PyTorch);
// otherwise the running ones are used. gamma, beta and the running tensors are [C], contiguous, f64 if x is f64 and f32
// otherwise; in training the running ones may share memory with none of the others. f32, f64, bf16. Differentiable in
// x, gamma and beta. Throws ShapeError (also for training on fewer than two values per channel), DTypeError,
// DeviceError, ValueError (a momentum outside [0, 1], a negative or infinite eps, shared memory).
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean, Tensor& running_var,
                  const BatchNormOptions& o);

// relu(batch_norm(x, ..) + residual), where `residual` is undefined or like x. While training it is one op, equal to
// the three up to rounding: it makes fewer passes over memory, and its result need not be kept for backward. Who reads
// it there makes it again from x (Recipe in core/autograd.h), as in-place activated batch norm does (Rota Bulo, Porzi
// and Kontschieder 2018); so x, residual, gamma and beta must not be written before. Throws what batch_norm throws.
Tensor batch_norm_relu(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean,
                       Tensor& running_var, const Tensor& residual, const BatchNormOptions& o);

// As an op of a graph it does not train.
namespace opdef {
extern const OpDef batch_norm;
}

}  // namespace mininn
