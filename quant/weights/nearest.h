// Rounding to nearest: each weight by itself.
#pragma once

#include "quant/weights/quantized_weight.h"

namespace mininn::quant {

// clamp(rne(w / scale[o]), -127, 127), round half to even.
Tensor nearest(const WeightGrid& g);

}  // namespace mininn::quant
