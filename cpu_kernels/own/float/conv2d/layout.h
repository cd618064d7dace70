// How one group's weights, OIHW, are seen as a matrix B[tap][k][column] (own/float/pack.h).
#pragma once

#include "cpu_kernels/own/float/pack.h"
#include "ops/conv2d.h"

namespace mininn::cpu::own {

// k are input channels, columns output channels: of the convolution and of its weight gradient.
inline MatrixLayout weight_layout(const Conv2dGeometry& g) {
  const int64_t taps = g.kh * g.kw, icg = g.icg();
  return {g.ocg(), icg, taps, icg * taps, taps, 1};
}
// The other way round: of the input gradient.
inline MatrixLayout transposed_weight_layout(const Conv2dGeometry& g) {
  const int64_t taps = g.kh * g.kw, icg = g.icg();
  return {icg, g.ocg(), taps, taps, icg * taps, 1};
}

}  // namespace mininn::cpu::own
