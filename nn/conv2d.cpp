#include "nn/conv2d.h"

#include "core/error.h"
#include "nn/init.h"

namespace mininn::nn {

Conv2d::Conv2d(const Scope& scope, const Conv2dOptions& o)
    : options_{.stride = o.stride, .padding = o.padding, .dilation = o.dilation, .groups = o.groups} {
  if (o.in < 1 || o.out < 1 || o.groups < 1 || o.in % o.groups || o.out % o.groups || o.kernel.h < 1 || o.kernel.w < 1)
    throw ValueError(message("nn::Conv2d \"", scope.path(), "\": in ", o.in, " and out ", o.out,
                             " must be positive multiples of groups ", o.groups, ", and the kernel ", o.kernel.h, "x",
                             o.kernel.w, " at least 1x1"));
  if (const char* why = misfit(options_))
    throw ValueError(message("nn::Conv2d \"", scope.path(), "\": stride [", o.stride.h, ",", o.stride.w, "], padding [",
                             o.padding.h, ",", o.padding.w, "], dilation [", o.dilation.h, ",", o.dilation.w,
                             "]: ", why));
  const Shape shape{o.out, o.in / o.groups, o.kernel.h, o.kernel.w};
  const Init standard = init::torch_default(init::fan_in(shape));
  weight_ = scope.parameter("weight", shape, o.weight_init ? o.weight_init : standard);
  if (o.bias) bias_ = scope.parameter("bias", {o.out}, standard);
}

Tensor Conv2d::forward(const Tensor& x) { return conv2d(x, weight_, bias_, options_); }

}  // namespace mininn::nn
