#include "examples/cifar_resnet/resnet.h"

#include <string>

#include "nn/init.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

// A convolution without bias (a batch norm follows), initialised as He et al. 2015 do for ReLU networks.
nn::Conv2dOptions conv(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return {.in = in,
          .out = out,
          .kernel = kernel,
          .stride = stride,
          .padding = kernel / 2,
          .bias = false,
          .weight_init = nn::init::kaiming_normal(nn::init::Fan::out)};
}

}  // namespace

BasicBlock::BasicBlock(const nn::Scope& s, int64_t in, int64_t out, int64_t stride)
    : conv1_(s / "conv1", conv(in, out, 3, stride)),
      bn1_(s / "bn1", out),
      conv2_(s / "conv2", conv(out, out, 3, 1)),
      bn2_(s / "bn2", out) {
  if (stride != 1 || in != out) {
    down_.emplace(s / "downsample.0", conv(in, out, 1, stride));
    down_bn_.emplace(s / "downsample.1", out);
  }
}

Tensor BasicBlock::forward(const Tensor& x) {
  const Tensor shortcut = down_ ? (*down_bn_)((*down_)(x)) : x;
  return bn2_.forward_relu(conv2_(bn1_.forward_relu(conv1_(x))), shortcut);
}

ResNet18::ResNet18(const nn::Scope& s, const ResNetOptions& o)
    : conv1_(s / "conv1", conv(3, o.base_channels, 3, 1)),
      bn1_(s / "bn1", o.base_channels),
      fc_(s / "fc", {.in = 8 * o.base_channels, .out = o.classes}) {
  int64_t in = o.base_channels;
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t out = o.base_channels << stage;
    const nn::Scope layer = s / ("layer" + std::to_string(stage + 1));
    blocks_.push_back(std::make_unique<BasicBlock>(layer / "0", in, out, stage == 0 ? 1 : 2));
    blocks_.push_back(std::make_unique<BasicBlock>(layer / "1", out, out, 1));
    in = out;
  }
}

Tensor ResNet18::stem(const Tensor& x) { return bn1_.forward_relu(conv1_(x)); }

Tensor ResNet18::forward(const Tensor& x) {
  Tensor y = stem(x);
  for (const auto& block : blocks_) y = (*block)(y);
  return fc_(flatten(global_avg_pool2d(y)));
}

std::vector<Tensor> ResNet18::feature_maps(const Tensor& x) {
  std::vector<Tensor> maps{stem(x)};
  for (size_t i = 0; i < blocks_.size(); i += 2) maps.push_back((*blocks_[i + 1])((*blocks_[i])(maps.back())));
  return maps;
}

ResNet9::Stage::Stage(const nn::Scope& s, int64_t in, int64_t out)
    : conv(s / "conv", cifar_resnet::conv(in, out, 3, 1)), bn(s / "bn", out) {}

ResNet9::ResNet9(const nn::Scope& s, const ResNetOptions& o)
    : conv1_(s / "conv1", conv(3, o.base_channels, 3, 1)),
      bn1_(s / "bn1", o.base_channels),
      fc_(s / "fc", {.in = 8 * o.base_channels, .out = o.classes}) {
  for (int i = 0; i < 3; ++i) {
    const int64_t in = o.base_channels << i, out = 2 * in;
    const nn::Scope layer = s / ("layer" + std::to_string(i + 1));
    stages_.push_back(std::make_unique<Stage>(layer, in, out));
    if (i != 1) stages_.back()->block.emplace(layer / "block", out, out, 1);
  }
}

std::vector<Tensor> ResNet9::feature_maps(const Tensor& x) {
  std::vector<Tensor> maps{bn1_.forward_relu(conv1_(x))};
  for (const auto& s : stages_) {
    const Tensor y = max_pool2d(s->bn.forward_relu(s->conv(maps.back())), {.kernel = 2});
    maps.push_back(s->block ? (*s->block)(y) : y);
  }
  return maps;
}

Tensor ResNet9::forward(const Tensor& x) {
  const Tensor y = feature_maps(x).back();
  // Without the factor its logits, of the maxima of many channels, are too far apart at first.
  return fc_(flatten(max_pool2d(y, {.kernel = 4}))) * 0.125;
}

}  // namespace cifar_resnet
