// VGG-11 (Simonyan and Zisserman 2015, network A) with batch norm, for images of 32x32 pixels.
#pragma once

#include "examples/cifar_resnet/architecture.h"

namespace cifar_resnet {

// Five stages, each with a pooling behind it, leave one pixel, so one linear layer classifies. Parameter paths up to
// there are those of torchvision's vgg11_bn.
class Vgg11 final : public Network {
 public:
  Vgg11(const mininn::nn::Scope& s, const NetworkOptions& o = {});
};

}  // namespace cifar_resnet
