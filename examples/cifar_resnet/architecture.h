// The networks that this program trains, by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/module.h"
#include "nn/scope.h"

namespace cifar_resnet {

// forward(): [N,3,H,W], normalised -> logits [N,classes].
class Network : public mininn::nn::Module {
 public:
  // The activations after the stem and after each stage, for pictures.
  virtual std::vector<mininn::Tensor> feature_maps(const mininn::Tensor& x) = 0;
};

// The stem of each is the convolution "conv1".
struct Architecture {
  const char *name, *title;  // "resnet18", "ResNet-18"
  std::unique_ptr<Network> (*make)(const mininn::nn::Scope& s, int64_t base_channels);

  static constexpr int64_t kBaseChannels = 64;  // of the stem, at width 1
  // What a file of parameters says of them.
  std::string in_files() const { return std::string(name) + "-cifar"; }
};

std::span<const Architecture> architectures();
// Throws ValueError if there is none.
const Architecture& architecture(const std::string& name);

}  // namespace cifar_resnet
