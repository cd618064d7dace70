#include "examples/cifar_resnet/resnet.h"

#include <array>
#include <string>

#include "examples/cifar_resnet/conv_bn.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "ops/elementwise.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

class BasicBlock final : public nn::Module {
 public:
  static constexpr int64_t kExpansion = 1;

  BasicBlock(const nn::Scope& s, int64_t in, int64_t channels, int64_t stride)
      : conv1_(s / "conv1", s / "bn1", {.in = in, .out = channels, .stride = stride}),
        conv2_(s / "conv2", s / "bn2", {.in = channels, .out = channels}),
        shortcut_(s / "downsample", in, channels, stride) {}
  Tensor forward(const Tensor& x) override {
    const Tensor shortcut = shortcut_(x);
    return conv2_.forward(conv1_(x), shortcut);
  }

 private:
  ConvBn conv1_, conv2_;
  Shortcut shortcut_;
};

// With the stride in the 3x3 convolution, as torchvision has it.
class Bottleneck final : public nn::Module {
 public:
  static constexpr int64_t kExpansion = 4;

  Bottleneck(const nn::Scope& s, int64_t in, int64_t channels, int64_t stride)
      : conv1_(s / "conv1", s / "bn1", {.in = in, .out = channels, .kernel = 1}),
        conv2_(s / "conv2", s / "bn2", {.in = channels, .out = channels, .stride = stride}),
        conv3_(s / "conv3", s / "bn3", {.in = channels, .out = kExpansion * channels, .kernel = 1}),
        shortcut_(s / "downsample", in, kExpansion * channels, stride) {}
  Tensor forward(const Tensor& x) override {
    const Tensor shortcut = shortcut_(x), y = conv1_(x);
    return conv3_.forward(conv2_(y), shortcut);
  }

 private:
  ConvBn conv1_, conv2_, conv3_;
  Shortcut shortcut_;
};

class Scale final : public nn::Module {
 public:
  explicit Scale(double factor) : factor_(factor) {}
  Tensor forward(const Tensor& x) override { return x * factor_; }

 private:
  double factor_;
};

void add_stem(Network& net, const nn::Scope& s, const NetworkOptions& o) {
  net.add<ConvBn>(s / "conv1", s / "bn1", ConvBnOptions{.in = 3, .out = o.base_channels});
  net.end_stage();
}

void add_classifier(Network& net, const nn::Scope& s, int64_t channels, const NetworkOptions& o) {
  net.add<nn::Flatten>();
  net.add<nn::Linear>(s / "fc", nn::LinearOptions{.in = channels, .out = o.classes});
}

// The network of He et al. with `depths` blocks in its stages.
template <class Block>
void add_resnet(Network& net, const nn::Scope& s, const NetworkOptions& o, std::array<int, 4> depths) {
  add_stem(net, s, o);
  int64_t in = o.base_channels;
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t channels = o.base_channels << stage;
    const nn::Scope layer = s / ("layer" + std::to_string(stage + 1));
    for (int i = 0; i < depths[size_t(stage)]; ++i) {
      net.add<Block>(layer / std::to_string(i), in, channels, i == 0 && stage > 0 ? 2 : 1);
      in = Block::kExpansion * channels;
    }
    net.end_stage();
  }
  net.add<nn::GlobalAvgPool2d>();
  add_classifier(net, s, in, o);
}

}  // namespace

ResNet18::ResNet18(const nn::Scope& s, const NetworkOptions& o) { add_resnet<BasicBlock>(*this, s, o, {2, 2, 2, 2}); }

ResNet50::ResNet50(const nn::Scope& s, const NetworkOptions& o) { add_resnet<Bottleneck>(*this, s, o, {3, 4, 6, 3}); }

ResNet9::ResNet9(const nn::Scope& s, const NetworkOptions& o) {
  add_stem(*this, s, o);
  for (int i = 0; i < 3; ++i) {
    const int64_t in = o.base_channels << i, out = 2 * in;
    const nn::Scope layer = s / ("layer" + std::to_string(i + 1));
    add<ConvBn>(layer / "conv", layer / "bn", ConvBnOptions{.in = in, .out = out});
    add<nn::MaxPool2d>(Pool2dOptions{.kernel = 2});
    if (i != 1) add<BasicBlock>(layer / "block", out, out, 1);
    end_stage();
  }
  add<nn::MaxPool2d>(Pool2dOptions{.kernel = 4});
  add_classifier(*this, s, 8 * o.base_channels, o);
  add<Scale>(0.125);  // without it the logits, of the maxima of many channels, are too far apart at first
}

}  // namespace cifar_resnet
