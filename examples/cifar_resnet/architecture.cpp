#include "examples/cifar_resnet/architecture.h"

#include "core/error.h"
#include "examples/cifar_resnet/resnet.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

template <class N>
std::unique_ptr<Network> make(const nn::Scope& s, int64_t base_channels) {
  return std::make_unique<N>(s, ResNetOptions{.base_channels = base_channels});
}

constexpr Architecture kArchitectures[] = {{"resnet18", "ResNet-18", make<ResNet18>},
                                           {"resnet9", "ResNet-9", make<ResNet9>}};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& architecture(const std::string& name) {
  for (const Architecture& a : kArchitectures)
    if (a.name == name) return a;
  throw ValueError(message("there is no network ", excerpt(name)));
}

}  // namespace cifar_resnet
