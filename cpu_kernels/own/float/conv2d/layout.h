// How one group's weights, OIHW, are seen as a matrix B[tap][k][column] (own/float/pack.h).
#pragma once

#include "cpu_kernels/own/float/pack.h"
#include "ops/conv2d.h"

namespace mininn::cpu::own {

// Each channel has a kernel of its own: one matrix product of all channels, with k = 1 (GatherGemm::depthwise).
inline bool depthwise(const Conv2dGeometry& g) { return g.groups > 1 && g.groups == g.ic && g.groups == g.oc; }
// Matrix products that a convolution is made of.
inline int64_t products(const Conv2dGeometry& g) { return depthwise(g) ? 1 : g.groups; }

// k are input channels, columns output channels: of the convolution and of its weight gradient.
inline MatrixLayout weight_layout(const Conv2dGeometry& g) {
  const int64_t taps = g.kh * g.kw, icg = g.icg();
  return {depthwise(g) ? g.oc : g.ocg(), icg, taps, icg * taps, taps, 1};
}
// The other way round: of the input gradient.
inline MatrixLayout transposed_weight_layout(const Conv2dGeometry& g) {
  if (depthwise(g)) return weight_layout(g);
  const int64_t taps = g.kh * g.kw, icg = g.icg();
  return {icg, g.ocg(), taps, taps, icg * taps, 1};
}

}  // namespace mininn::cpu::own
