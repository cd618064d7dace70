// Empirical bias correction: takes the mean error of each layer out of its bias.
#pragma once

#include <functional>

#include "nn/graph/graph.h"
#include "quant/int8_model.h"

namespace mininn::quant {

// Some calibration inputs: for the float network, of which only as many count as `quantized` has, and the same ones as
// the int8 network takes them.
using BatchFn = std::function<void(const Tensor& exact, const Tensor& quantized)>;

// Layer by layer in order of execution, with all earlier layers quantized and corrected:
//   bias[o] += mean of (float sum - int8 sum) over images, rows and pixels
// where a sum is what the layer makes before its activation function. `g` is the float graph that `model` was lowered
// from; replay(fn) calls fn with all calibration inputs, twice. Memory for what flows between two layers of the int8
// network, for all of them at once, is needed. The result does not depend on how they are batched or ordered. Throws
// ValueError if a bias would not fit 32 bits.
Int8Model correct_bias(Int8Model model, const nn::graph::Graph& g, const std::function<void(const BatchFn&)>& replay);

}  // namespace mininn::quant
