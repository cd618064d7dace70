// Residual networks for images of 32x32 pixels.
#pragma once

#include "examples/cifar_resnet/architecture.h"

namespace cifar_resnet {

// He et al. 2016: a 3x3 stem without pooling, four stages of two basic blocks, or of 3, 4, 6 and 3 bottlenecks.
// Parameter paths are torchvision's, so checkpoints travel both ways.
class ResNet18 final : public Network {
 public:
  ResNet18(const mininn::nn::Scope& s, const NetworkOptions& o = {});
};
class ResNet50 final : public Network {
 public:
  ResNet50(const mininn::nn::Scope& s, const NetworkOptions& o = {});
};

// Page 2018, "How to train your ResNet": a stem and three convolutions with pooling, a basic block behind the first and
// the last of them. Two thirds of the work of a ResNet-18, and it learns in fewer epochs. Images of 32x32.
class ResNet9 final : public Network {
 public:
  ResNet9(const mininn::nn::Scope& s, const NetworkOptions& o = {});
};

}  // namespace cifar_resnet
