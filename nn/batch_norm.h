// Batch normalisation (Ioffe and Szegedy 2015).
#pragma once

#include "nn/module.h"
#include "nn/scope.h"
#include "ops/batch_norm.h"

namespace mininn::nn {

struct BatchNorm2dOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // weight of the newest batch in the running statistics
  double gamma = 1;  // initial value of "weight"; 0 on a residual branch's last layer starts a block as the identity
};

// [N,C,H,W] or [N,C], normalised per channel: by the batch's statistics in training, else by the running ones.
// Parameters "weight" and "bias"; buffers "running_mean", "running_var" and "num_batches_tracked" (i64), as in PyTorch.
class BatchNorm2d final : public Module {
 public:
  // Throws ValueError unless channels >= 1, eps > 0, 0 <= momentum <= 1 and gamma is finite, eps and gamma as the
  // parameters' dtype has them.
  BatchNorm2d(const Scope& scope, int64_t channels, const BatchNorm2dOptions& o = {});
  Tensor forward(const Tensor& x) override;
  // relu(forward(x) + residual), in training as one op that saves time and memory (ops/batch_norm.h). `residual` may be
  // undefined.
  Tensor forward_relu(const Tensor& x, const Tensor& residual = {});

 private:
  BatchNormOptions call_options() const;
  void count_batch();

  BatchNorm2dOptions options_;
  Mode mode_;
  Tensor weight_, bias_, running_mean_, running_var_, num_batches_tracked_;
};

}  // namespace mininn::nn
