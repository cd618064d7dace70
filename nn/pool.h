// Pooling and flattening as modules.
#pragma once

#include "nn/module.h"
#include "ops/pool2d.h"

namespace mininn::nn {

// [N,C,H,W] -> [N,C,oh,ow] (ops/pool2d.h).
class MaxPool2d final : public Module {
 public:
  using Options = Pool2dOptions;
  // Throws ValueError for options that make no pooling.
  explicit MaxPool2d(const Pool2dOptions& o);
  Tensor forward(const Tensor& x) override;

 private:
  Pool2dOptions options_;
};

// The mean of each window; padding counts as zeros, as in PyTorch.
class AvgPool2d final : public Module {
 public:
  using Options = Pool2dOptions;
  // Throws ValueError for options that make no pooling.
  explicit AvgPool2d(const Pool2dOptions& o);
  Tensor forward(const Tensor& x) override;

 private:
  Pool2dOptions options_;
};

// [N,C,H,W] -> [N,C,1,1]
class GlobalAvgPool2d final : public Module {
 public:
  Tensor forward(const Tensor& x) override;
};

// [N,...] -> [N, product of the rest]
class Flatten final : public Module {
 public:
  explicit Flatten(int start_dim = 1) : start_dim_(start_dim) {}
  Tensor forward(const Tensor& x) override;

 private:
  int start_dim_;
};

}  // namespace mininn::nn
