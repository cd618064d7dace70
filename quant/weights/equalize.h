// Cross-layer equalization: scales that make weights easier to quantize, moved from layer to layer.
#pragma once

#include "nn/graph/graph.h"

namespace mininn::quant {

// A graph that computes the same function (up to rounding), with the weight ranges of neighbouring layers brought
// together (Nagel et al. 2019). Where the result of a conv2d_fused or linear goes through nothing but relu, pooling and
// flatten into one other such layer, channel c may be divided by any s > 0 before and multiplied by it behind;
//   s[c] = sqrt(max |W1[c,:]| / max |W2[:,c]|)
// makes both ranges equal. Chains of layers are swept until they agree. Left alone: a layer that adds a residual, or
// whose weights are shared or no constants; channels without weights on one side.
//
// `g` is what nn::graph::optimize() made; throws ValueError for a graph that breaks a rule. With one weight scale per
// output channel there is next to nothing to gain.
nn::graph::Graph equalize(nn::graph::Graph g);

}  // namespace mininn::quant
