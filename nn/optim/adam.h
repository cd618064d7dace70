// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
#pragma once

#include "nn/optim/optimizer.h"

namespace mininn::optim {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

// PyTorch's formulas (torch.optim.Adam), per element, at a parameter's t-th step:
//   g  = grad + weight_decay * p                                        AdamW instead: p *= 1 - lr * weight_decay
//   m += (1 - beta1) * (g - m);   v = beta2 * v + (1 - beta2) * g * g
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// As there, eps may be 0, and then an element whose gradients have all been 0 becomes NaN (0 / 0).
class Adam : public Optimizer {
 public:
  // Throws ValueError for options out of range.
  Adam(std::vector<Tensor> params, const AdamOptions& o = {}) : Adam(std::move(params), o, false) {}
  void step(double lr) override;
  State state() const override;  // "<parameter>.m", ".v" and ".step" (i64), once there are any
  void load_state(const State& s) override;

 protected:
  Adam(std::vector<Tensor> params, const AdamOptions& o, bool decoupled);

 private:
  struct Moments {
    Tensor m, v;
    int64_t step = 0;
  };
  AdamOptions options_;
  bool decoupled_;
  std::vector<Moments> moments_;
};

// Adam with decoupled weight decay.
class AdamW final : public Adam {
 public:
  AdamW(std::vector<Tensor> params, const AdamOptions& o = {.weight_decay = 0.01}) : Adam(std::move(params), o, true) {}
};

}  // namespace mininn::optim
