// The constants of an int8 layer.
#pragma once

#include <string>
#include <vector>

#include "core/image_normalization.h"
#include "core/tensor.h"
#include "ops/conv2d.h"
#include "quant/weights/quantized_weight.h"

namespace mininn::quant {

// Accumulators start at the bias. It may take up what the products leave of an int32, up to so many units; what needs
// more makes the weights coarser.
inline constexpr double kMostBias = 1 << 30;

struct LayerCodes {
  Tensor weight;  // s8, shaped like the weight
  Tensor scale;   // f32 [O]
  Tensor bias;    // i32 [classes,O] (border_classes() in ops/qconv2d.h) in units of x_scale * scale
};

// Of weight w [O, C/groups, kh, kw] and bias b [O] behind codes on a grid of steps of `x_scale`. `image`: the codes are
// the bytes of an image, which the layer normalises itself; the bias then has a row for each class of borders. Throws
// KernelError, with the reason alone, if sums can leave 32 bits, and ValueError for weights and a rounder that make no
// codes.
LayerCodes quantize_layer(const std::string& name, std::vector<double> w, const Shape& shape,
                          const std::vector<double>& b, double x_scale, const Conv2dGeometry& g,
                          const ImageNormalization* image, bool per_channel, const Rounder& round);

}  // namespace mininn::quant
