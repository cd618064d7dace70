#include "examples/cifar_resnet/mobilenet.h"

#include <algorithm>
#include <optional>
#include <string>

#include "examples/cifar_resnet/conv_bn.h"
#include "nn/linear.h"
#include "nn/pool.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

// 1x1, depthwise 3x3, 1x1; the last has no activation, and neither has the sum with the shortcut.
class InvertedResidual final : public nn::Module {
 public:
  InvertedResidual(const nn::Scope& s, int64_t in, int64_t hidden, int64_t out, int64_t stride)
      : expand_(s / "conv1", s / "bn1", {.in = in, .out = hidden, .kernel = 1, .activation = Activation::relu6}),
        depthwise_(s / "conv2", s / "bn2",
                   {.in = hidden, .out = hidden, .stride = stride, .groups = hidden, .activation = Activation::relu6}),
        project_(s / "conv3", s / "bn3", {.in = hidden, .out = out, .kernel = 1, .activation = Activation::none}) {
    if (stride == 1) shortcut_.emplace(s / "shortcut", in, out, stride);
  }
  Tensor forward(const Tensor& x) override {
    const Tensor shortcut = shortcut_ ? shortcut_->forward(x) : Tensor();
    Tensor y = expand_(x);
    y = depthwise_(y);
    return project_.forward(y, shortcut);
  }

 private:
  ConvBn expand_, depthwise_, project_;
  std::optional<Shortcut> shortcut_;
};

}  // namespace

MobileNetV2::MobileNetV2(const nn::Scope& s, const NetworkOptions& o) {
  // Everything follows from the stem, so that a file of parameters says how wide the network is.
  const int64_t stem = std::max<int64_t>(o.base_channels / 2, 1);
  const auto channels = [&](int64_t at_width_1) { return std::max<int64_t>(at_width_1 * stem / 32, 1); };
  add<ConvBn>(s / "conv1", s / "bn1", ConvBnOptions{.in = 3, .out = stem, .activation = Activation::relu6});
  end_stage();

  struct Stage {
    int64_t expansion, channels;
    int blocks;
    int64_t stride;
    bool shown;  // the last of its size
  };
  int64_t in = stem;
  int number = 0;
  for (const Stage& stage : {Stage{1, 16, 1, 1, false},
                             {6, 24, 2, 1, true},
                             {6, 32, 3, 2, true},
                             {6, 64, 4, 2, false},
                             {6, 96, 3, 1, true},
                             {6, 160, 3, 2, false},
                             {6, 320, 1, 1, true}}) {
    const int64_t out = channels(stage.channels);
    for (int i = 0; i < stage.blocks; ++i, ++number, in = out)
      add<InvertedResidual>(s / "layers" / std::to_string(number), in, stage.expansion * in, out,
                            i == 0 ? stage.stride : 1);
    if (stage.shown) end_stage();
  }
  add<ConvBn>(s / "conv2", s / "bn2",
              ConvBnOptions{.in = in, .out = channels(1280), .kernel = 1, .activation = Activation::relu6});
  add<nn::GlobalAvgPool2d>();
  add<nn::Flatten>();
  add<nn::Linear>(s / "linear", nn::LinearOptions{.in = channels(1280), .out = o.classes});
}

}  // namespace cifar_resnet
