// ResNet-18 (He et al. 2016) as it is used on CIFAR-10: a 3x3 stem without pooling, four stages of two basic blocks.
// Parameter paths are torchvision's, so checkpoints travel both ways.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/linear.h"
#include "nn/module.h"

namespace cifar_resnet {

class BasicBlock final : public mininn::nn::Module {
 public:
  BasicBlock(const mininn::nn::Scope& s, int64_t in, int64_t out, int64_t stride);
  mininn::Tensor forward(const mininn::Tensor& x) override;

 private:
  mininn::nn::Conv2d conv1_;
  mininn::nn::BatchNorm2d bn1_;
  mininn::nn::Conv2d conv2_;
  mininn::nn::BatchNorm2d bn2_;
  std::optional<mininn::nn::Conv2d> down_;  // where the block changes the shape, so does its shortcut
  std::optional<mininn::nn::BatchNorm2d> down_bn_;
};

struct ResNet18Options {
  int64_t classes = 10;
  int64_t base_channels = 64;  // of the first stage; the next ones have 2, 4 and 8 times as many
};

class ResNet18 final : public mininn::nn::Module {
 public:
  ResNet18(const mininn::nn::Scope& s, const ResNet18Options& o = {});
  // [N,3,H,W], normalised -> logits [N,classes]
  mininn::Tensor forward(const mininn::Tensor& x) override;

  // The activations after the stem and after each stage, for pictures.
  std::vector<mininn::Tensor> feature_maps(const mininn::Tensor& x);

 private:
  mininn::Tensor stem(const mininn::Tensor& x);

  mininn::nn::Conv2d conv1_;
  mininn::nn::BatchNorm2d bn1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  mininn::nn::Linear fc_;
};

}  // namespace cifar_resnet
