// A fully connected layer.
#pragma once

#include "nn/module.h"
#include "nn/scope.h"

namespace mininn::nn {

struct LinearOptions {
  int64_t in = 0, out = 0;
  bool bias = true;
  Init weight_init = {};  // empty: PyTorch's default
};

// y = x W^T + b: [N,in] -> [N,out]. Where parameters are f32 and x is bf16 (mixed precision), it becomes f32 first, and
// so is y: the logits of a network, for one, are not rounded. Parameters "weight" [out,in] and "bias" [out]. Throws
// ValueError unless both sizes are positive.
class Linear final : public Module {
 public:
  using Options = LinearOptions;
  Linear(const Scope& scope, const LinearOptions& o);
  Tensor forward(const Tensor& x) override;

  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  // undefined without one

 private:
  Tensor weight_, bias_;
};

}  // namespace mininn::nn
