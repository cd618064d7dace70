// Residual networks (He et al. 2016) for images of 32x32 pixels.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "examples/cifar_resnet/architecture.h"
#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/linear.h"

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

struct ResNetOptions {
  int64_t classes = 10;
  int64_t base_channels = Architecture::kBaseChannels;  // of the stem; the last stage has 8 times as many
};

// A 3x3 stem without pooling, four stages of two basic blocks. Parameter paths are torchvision's, so checkpoints travel
// both ways.
class ResNet18 final : public Network {
 public:
  ResNet18(const mininn::nn::Scope& s, const ResNetOptions& o = {});
  mininn::Tensor forward(const mininn::Tensor& x) override;
  std::vector<mininn::Tensor> feature_maps(const mininn::Tensor& x) override;

 private:
  mininn::Tensor stem(const mininn::Tensor& x);

  mininn::nn::Conv2d conv1_;
  mininn::nn::BatchNorm2d bn1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  mininn::nn::Linear fc_;
};

// Page 2018, "How to train your ResNet": a stem and three convolutions with pooling, a basic block behind the first and
// the last of them. Two thirds of the work of a ResNet-18, and it learns in fewer epochs. Images of 32x32.
class ResNet9 final : public Network {
 public:
  ResNet9(const mininn::nn::Scope& s, const ResNetOptions& o = {});
  mininn::Tensor forward(const mininn::Tensor& x) override;
  std::vector<mininn::Tensor> feature_maps(const mininn::Tensor& x) override;

 private:
  struct Stage {
    Stage(const mininn::nn::Scope& s, int64_t in, int64_t out);
    mininn::nn::Conv2d conv;
    mininn::nn::BatchNorm2d bn;
    std::optional<BasicBlock> block;
  };

  mininn::nn::Conv2d conv1_;
  mininn::nn::BatchNorm2d bn1_;
  std::vector<std::unique_ptr<Stage>> stages_;
  mininn::nn::Linear fc_;
};

}  // namespace cifar_resnet
