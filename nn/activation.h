// Activations and dropout as modules. Inside a forward() the functions of ops/elementwise.h do the same.
#pragma once

#include "nn/module.h"
#include "nn/scope.h"

namespace mininn::nn {

class ReLU final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};
class ReLU6 final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};
class Sigmoid final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};
class Tanh final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};
class GELU final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};
class SiLU final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};

// In training each element is zeroed with probability p and the others are scaled by 1/(1-p); otherwise the identity
// (Srivastava et al. 2014). Draws from default_generator(), whose position a checkpoint can save.
class Dropout final : public Module {
 public:
  // Throws ValueError unless 0 <= p < 1.
  explicit Dropout(const Scope& scope, double p = 0.5);
  Tensor forward(const Tensor& x) override;

 private:
  Mode mode_;
  double p_;
};

}  // namespace mininn::nn
