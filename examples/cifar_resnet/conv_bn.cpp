#include "examples/cifar_resnet/conv_bn.h"

#include "nn/init.h"
#include "ops/elementwise.h"

namespace cifar_resnet {

using namespace mininn;

ConvBn::ConvBn(const nn::Scope& conv, const nn::Scope& bn, const ConvBnOptions& o)
    : conv_(conv, {.in = o.in,
                   .out = o.out,
                   .kernel = o.kernel,
                   .stride = o.stride,
                   .padding = o.kernel / 2,
                   .groups = o.groups,
                   .bias = o.bias,
                   .weight_init = nn::init::kaiming_normal(nn::init::Fan::out)}),
      bn_(bn, o.out),
      activation_(o.activation) {}

Tensor ConvBn::forward(const Tensor& x, const Tensor& residual) {
  if (activation_ == Activation::relu) return bn_.forward_relu(conv_(x), residual);
  Tensor y = bn_(conv_(x));
  if (residual) y = y + residual;
  return activation_ == Activation::relu6 ? relu6(y) : y;
}

Shortcut::Shortcut(const nn::Scope& s, int64_t in, int64_t out, int64_t stride) {
  if (stride != 1 || in != out)
    projection_.emplace(
        s / "0", s / "1",
        ConvBnOptions{.in = in, .out = out, .kernel = 1, .stride = stride, .activation = Activation::none});
}

Tensor Shortcut::forward(const Tensor& x) { return projection_ ? projection_->forward(x) : x; }

}  // namespace cifar_resnet
