// The networks that this program trains, by name.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "nn/scope.h"

namespace cifar_resnet {

// Modules in a row: [N,3,H,W], normalised -> logits [N,classes].
class Network : public mininn::nn::Module {
 public:
  mininn::Tensor forward(const mininn::Tensor& x) override { return forward(x, nullptr); }
  // Also appends to `maps`, for pictures, the activations after the stem and after each stage: at most five.
  mininn::Tensor forward(const mininn::Tensor& x, std::vector<mininn::Tensor>* maps);

  // Appends M(args...).
  template <class M, class... Args>
  void add(Args&&... args) {
    parts_.push_back(std::make_unique<M>(std::forward<Args>(args)...));
  }
  // What was appended last ends the stem or a stage.
  void end_stage() { stage_ends_.push_back(parts_.size()); }

 private:
  std::vector<std::unique_ptr<mininn::nn::Module>> parts_;
  std::vector<size_t> stage_ends_;  // numbers of parts
};

struct Architecture {
  static constexpr int64_t kBaseChannels = 64;  // at width 1

  const char *name, *title;  // "resnet18", "ResNet-18"
  std::unique_ptr<Network> (*make)(const mininn::nn::Scope& s, int64_t base_channels);
  const char* stem = "conv1";  // its first convolution, which has base_channels / stem_divisor filters
  int64_t stem_divisor = 1;

  // What a file of parameters says of them.
  std::string in_files() const { return std::string(name) + "-cifar"; }
};

struct NetworkOptions {
  int64_t classes = 10;
  int64_t base_channels = Architecture::kBaseChannels;  // all other numbers of channels are in proportion
};

std::span<const Architecture> architectures();
// Throws ValueError if there is none.
const Architecture& architecture(const std::string& name);

}  // namespace cifar_resnet
