// Weights as integer codes: the scales of their grids, and who chooses the codes.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace mininn::quant {

// What a Rounder gets: the weights w [O,...] of a layer, row-major, and the step of each output channel's grid.
struct WeightGrid {
  std::string_view layer;
  std::span<const double> w;
  Shape shape;
  std::span<const double> scale;  // [O]
};

// Chooses the code of every weight: s8 [O,...] contiguous in -127..127, with w ~ scale[o] * code. A layer may be asked
// for twice, in another shape or with other scales.
using Rounder = std::function<Tensor(const WeightGrid&)>;

// Symmetric s8 weights in -127..127: w ~ scale[o] * codes[o,...].
struct QWeights {
  Tensor codes;               // s8, shaped like the weight, contiguous
  std::vector<double> scale;  // one per output channel (per tensor: all equal)
};

// Quantizes `w` [O,...] (row-major values of that shape) of a layer: scale[o] = max |w[o,:]| / 127, or the largest of
// them for all channels unless `per_channel`; `round` chooses the codes. `least_scale[o]` bounds a scale from below: a
// channel of tiny weights and a large bias needs a coarse one for its bias to fit the accumulator. A channel of zeros
// has scale 1, and none less than the smallest normal float. Throws ValueError for weights that are not finite, if the
// largest scale is no normal float and for codes that are not what a Rounder gives, ShapeError for lists of another
// length.
QWeights quantize_weights(std::string_view layer, const std::vector<double>& w, const Shape& shape,
                          const std::vector<double>& least_scale, bool per_channel, const Rounder& round);

}  // namespace mininn::quant
