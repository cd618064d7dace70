// From a float graph and the ranges of its values to an int8 network.
#pragma once

#include <optional>
#include <vector>

#include "nn/graph/graph.h"
#include "quant/grid/observer.h"
#include "quant/int8_model.h"
#include "quant/weights/nearest.h"

namespace mininn::quant {

struct LowerOptions {
  bool per_channel = true;  // one weight scale per output channel, else one per tensor
  std::optional<ImageNormalization> input = {};
  // Chooses the weights' codes; a convolution's may have absorbed `input`. May be asked more than once for a layer.
  Rounder round = nearest;
};

struct Lowered {
  Int8Model model;
  // For each value of the model's graph, the value of the float graph it stands for; kAbsent for others, and for a sum
  // before its activation function.
  std::vector<int> source;
  // For each value of the float graph, whether codes took their grid from its range, or an op of int8 networks made it.
  std::vector<bool> observed;
};

// `g` is what nn::graph::optimize() made; ranges[v] is the range of value v. Int8 forms have conv2d, linear, add, mul
// of maps or of a map and a gate [N,C,1,1], cat along channels, max, average and global average pooling, every
// elementwise op of one operand, flatten and reshapes that only drop or add sizes of 1. What stands between the last
// layers and the result works on real numbers. Every other node, and a layer whose sums could leave 32 bits, stays the
// float op that it is; its LayerNote says why. Throws KernelError for a graph with other than one f32 input and one
// output, one that computes nothing, and a node that works across the batch or moves it from the front; ValueError for
// a graph that breaks a rule, no rounder or one whose codes let a layer's sums leave 32 bits, constants that are not
// finite, weights or activations so small that the step of their grid is no normal float, and a normalisation that does
// not fit, ShapeError for a bias that does not.
Lowered lower(const nn::graph::Graph& g, const std::vector<Range>& ranges, const LowerOptions& options);

}  // namespace mininn::quant
