// Stochastic gradient descent with momentum.
#pragma once

#include "nn/optim/optimizer.h"

namespace mininn::optim {

struct SgdOptions {
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

// PyTorch's formulas (torch.optim.SGD; Sutskever et al. 2013 for nesterov), per element:
//   g   = grad + weight_decay * p
//   buf = g at the first step, then momentum * buf + (1 - dampening) * g
//   p  -= lr * (nesterov ? g + momentum * buf : buf)          without momentum: p -= lr * g
class Sgd final : public Optimizer {
 public:
  // Throws ValueError for options that are negative or not finite, or nesterov without momentum or with dampening.
  Sgd(std::vector<Tensor> params, const SgdOptions& o = {});
  void step(double lr) override;
  State state() const override;  // "<parameter>.momentum", once there is one
  void load_state(const State& s) override;

 private:
  SgdOptions options_;
  std::vector<Tensor> momentum_;  // undefined until the parameter's first step
};

}  // namespace mininn::optim
