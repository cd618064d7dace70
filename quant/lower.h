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
  Rounder round = nearest;  // chooses the weights' codes; a convolution's may have absorbed `input`
};

struct Lowered {
  Int8Model model;
  // For each value of the model, the value of the graph it stands for; kAbsent for a sum before its activation
  // function.
  std::vector<int> source;
};

// `g` is what nn::graph::optimize() made; ranges[v] is the range of value v. Supported: conv2d, linear, add, mul of
// maps or of a map and a gate [N,C,1,1], cat along channels, max, average and global average pooling, every
// elementwise op of one operand, flatten and reshapes that only drop or add sizes of 1. What stands between the last
// layers and the result works on real numbers. Throws KernelError naming the op and the node for everything else
// (nothing is ever left in float silently) and for a layer whose sums could leave 32 bits, which depends on its
// weights alone; ValueError for a graph that breaks a rule, no rounder or one whose codes let a layer's sums leave 32
// bits, constants that are not finite and a normalisation that does not fit, ShapeError for a bias that does not.
Lowered lower(const nn::graph::Graph& g, const std::vector<Range>& ranges, const LowerOptions& options);

}  // namespace mininn::quant
