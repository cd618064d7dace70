#include "nn/linear.h"

#include "core/error.h"
#include "nn/init.h"
#include "ops/cast.h"
#include "ops/matmul.h"

namespace mininn::nn {

Linear::Linear(const Scope& scope, const LinearOptions& o) {
  if (o.in < 1 || o.out < 1)
    throw ValueError(message("nn::Linear \"", scope.path(), "\": in ", o.in, " and out ", o.out, " must be positive"));
  const Init standard = init::torch_default(o.in);
  weight_ = scope.parameter("weight", {o.out, o.in}, o.weight_init ? o.weight_init : standard);
  if (o.bias) bias_ = scope.parameter("bias", {o.out}, standard);
}

Tensor Linear::forward(const Tensor& x) {
  const bool mixed = x && x.dtype() == DType::bf16 && weight_.dtype() == DType::f32;
  return linear(mixed ? cast(x, DType::f32) : x, weight_, bias_);
}

}  // namespace mininn::nn
