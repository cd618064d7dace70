#include "nn/activation.h"

#include "core/error.h"
#include "core/random.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"

namespace mininn::nn {

Tensor ReLU::forward(const Tensor& x) { return relu(x); }
Tensor ReLU6::forward(const Tensor& x) { return relu6(x); }
Tensor Sigmoid::forward(const Tensor& x) { return sigmoid(x); }
Tensor Tanh::forward(const Tensor& x) { return tanh(x); }
Tensor GELU::forward(const Tensor& x) { return gelu(x); }
Tensor SiLU::forward(const Tensor& x) { return silu(x); }

Dropout::Dropout(const Scope& scope, double p) : mode_(scope.store().mode()), p_(p) {
  if (!(p >= 0 && p < 1))
    throw ValueError(message("nn::Dropout \"", scope.path(), "\": p is ", p, ", it must be in [0, 1)"));
}

Tensor Dropout::forward(const Tensor& x) { return dropout(x, p_, *mode_, default_generator()); }

}  // namespace mininn::nn
