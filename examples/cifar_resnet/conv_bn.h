// What the networks here are made of.
#pragma once

#include <optional>

#include "nn/batch_norm.h"
#include "nn/conv2d.h"

namespace cifar_resnet {

enum class Activation { none, relu, relu6 };

struct ConvBnOptions {
  int64_t in = 0, out = 0;
  int64_t kernel = 3, stride = 1, groups = 1;  // padding keeps the size at stride 1
  bool bias = false;                           // without effect: the batch norm has one
  Activation activation = Activation::relu;
};

// A convolution, its batch norm and an activation. Convolutions start as He et al. 2015 have it for ReLU networks.
class ConvBn final : public mininn::nn::Module {
 public:
  ConvBn(const mininn::nn::Scope& conv, const mininn::nn::Scope& bn, const ConvBnOptions& o);
  mininn::Tensor forward(const mininn::Tensor& x) override { return forward(x, {}); }
  // `residual`, which may be undefined, is added in front of the activation.
  mininn::Tensor forward(const mininn::Tensor& x, const mininn::Tensor& residual);

 private:
  mininn::nn::Conv2d conv_;
  mininn::nn::BatchNorm2d bn_;
  Activation activation_;
};

// What is added to the result of a residual block: its input, or a 1x1 convolution ("0", "1") of it where the block
// changes the shape.
class Shortcut final : public mininn::nn::Module {
 public:
  Shortcut(const mininn::nn::Scope& s, int64_t in, int64_t out, int64_t stride);
  mininn::Tensor forward(const mininn::Tensor& x) override;

 private:
  std::optional<ConvBn> projection_;
};

}  // namespace cifar_resnet
