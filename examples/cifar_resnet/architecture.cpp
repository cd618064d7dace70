#include "examples/cifar_resnet/architecture.h"

#include "core/error.h"
#include "examples/cifar_resnet/mobilenet.h"
#include "examples/cifar_resnet/resnet.h"
#include "examples/cifar_resnet/vgg.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

template <class N>
std::unique_ptr<Network> make(const nn::Scope& s, int64_t base_channels) {
  return std::make_unique<N>(s, NetworkOptions{.base_channels = base_channels});
}

constexpr Architecture kArchitectures[] = {{"resnet18", "ResNet-18", make<ResNet18>},
                                           {"resnet9", "ResNet-9", make<ResNet9>},
                                           {"resnet50", "ResNet-50", make<ResNet50>},
                                           {"vgg11", "VGG-11", make<Vgg11>, "features.0"},
                                           {"mobilenetv2", "MobileNetV2", make<MobileNetV2>, "conv1", 2}};

}  // namespace

Tensor Network::forward(const Tensor& x, std::vector<Tensor>* maps) {
  Tensor y = x;
  auto end = stage_ends_.begin();
  for (size_t done = 0; done < parts_.size();) {
    y = (*parts_[done++])(y);
    if (!maps || end == stage_ends_.end() || *end != done) continue;
    maps->push_back(y);
    ++end;
  }
  return y;
}

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& architecture(const std::string& name) {
  for (const Architecture& a : kArchitectures)
    if (a.name == name) return a;
  throw ValueError(message("there is no network ", excerpt(name)));
}

}  // namespace cifar_resnet
