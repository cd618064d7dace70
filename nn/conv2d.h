// A convolution layer.
#pragma once

#include "nn/module.h"
#include "nn/scope.h"
#include "ops/conv2d.h"

namespace mininn::nn {

struct Conv2dOptions {
  int64_t in = 0, out = 0;  // channels
  Hw kernel = 1;
  Hw stride = 1;
  Hw padding = 0;
  Hw dilation = 1;
  int64_t groups = 1;
  bool bias = true;
  Init weight_init = {};  // empty: PyTorch's default
};

// [N,in,H,W] -> [N,out,oh,ow] (ops/conv2d.h). Parameters "weight" [out, in/groups, kh, kw] and "bias" [out]. Throws
// ValueError for sizes that make no convolution.
class Conv2d final : public Module {
 public:
  using Options = Conv2dOptions;
  Conv2d(const Scope& scope, const Conv2dOptions& o);
  Tensor forward(const Tensor& x) override;

  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }  // undefined without one

 private:
  Conv2dParams options_;
  Tensor weight_, bias_;
};

}  // namespace mininn::nn
