#include "nn/batch_norm.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "nn/init.h"

namespace mininn::nn {

BatchNorm2d::BatchNorm2d(const Scope& scope, int64_t channels, const BatchNorm2dOptions& o)
    : options_(o), mode_(scope.store().mode()) {
  const DType dtype = scope.store().dtype();
  const double eps = dtype == DType::f32 ? double(float(o.eps)) : o.eps;
  if (channels < 1 || !(eps > 0 && std::isfinite(eps)) || !(o.momentum >= 0 && o.momentum <= 1))
    throw ValueError(message("nn::BatchNorm2d \"", scope.path(), "\": channels ", channels, " and eps ", o.eps,
                             " must be positive and finite in ", name(dtype), ", momentum ", o.momentum, " in [0, 1]"));
  weight_ = scope.parameter("weight", {channels}, init::constant(o.gamma));
  bias_ = scope.parameter("bias", {channels}, init::constant(0));
  running_mean_ = scope.buffer("running_mean", {channels}, 0);
  running_var_ = scope.buffer("running_var", {channels}, 1);
  num_batches_tracked_ = scope.counter("num_batches_tracked");
}

Tensor BatchNorm2d::forward(const Tensor& x) {
  const Tensor y = batch_norm(x, weight_, bias_, running_mean_, running_var_, call_options());
  count_batch();
  return y;
}

Tensor BatchNorm2d::forward_relu(const Tensor& x, const Tensor& residual) {
  const Tensor y = batch_norm_relu(x, weight_, bias_, running_mean_, running_var_, residual, call_options());
  count_batch();
  return y;
}

BatchNormOptions BatchNorm2d::call_options() const {
  return {.training = *mode_, .momentum = options_.momentum, .eps = options_.eps};
}

void BatchNorm2d::count_batch() {
  if (!*mode_) return;
  int64_t& batches = num_batches_tracked_.mutable_data<int64_t>()[0];
  if (batches < std::numeric_limits<int64_t>::max()) ++batches;  // a file may have said anything
}

}  // namespace mininn::nn
