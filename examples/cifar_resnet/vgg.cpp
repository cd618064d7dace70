#include "examples/cifar_resnet/vgg.h"

#include <string>

#include "examples/cifar_resnet/conv_bn.h"
#include "nn/linear.h"
#include "nn/pool.h"

namespace cifar_resnet {

using namespace mininn;

Vgg11::Vgg11(const nn::Scope& s, const NetworkOptions& o) {
  struct Stage {
    int64_t channels;  // in base channels
    int convolutions;
  };
  int64_t in = 3;
  int number = 0;  // torchvision counts convolutions, batch norms, activations and poolings
  for (const Stage& stage : {Stage{1, 1}, {2, 1}, {4, 2}, {8, 2}, {8, 2}}) {
    const int64_t out = stage.channels * o.base_channels;
    for (int i = 0; i < stage.convolutions; ++i, number += 3, in = out)
      add<ConvBn>(s / "features" / std::to_string(number), s / "features" / std::to_string(number + 1),
                  ConvBnOptions{.in = in, .out = out, .bias = true});
    end_stage();
    add<nn::MaxPool2d>(Pool2dOptions{.kernel = 2});
    ++number;
  }
  add<nn::Flatten>();
  add<nn::Linear>(s / "classifier", nn::LinearOptions{.in = in, .out = o.classes});
}

}  // namespace cifar_resnet
