// MobileNetV2 (Sandler et al. 2018) for images of 32x32 pixels.
#pragma once

#include "examples/cifar_resnet/architecture.h"

namespace cifar_resnet {

// The paper's seven stages, with stride 1 in the stem and the second stage, as usual for CIFAR-10. Also usual there
// (pytorch-cifar, whose parameter paths these are): the first block expands too, by 1, and blocks of stride 1 that
// change the number of channels have a 1x1 convolution as their shortcut. ReLU6 as in the paper.
class MobileNetV2 final : public Network {
 public:
  MobileNetV2(const mininn::nn::Scope& s, const NetworkOptions& o = {});
};

}  // namespace cifar_resnet
