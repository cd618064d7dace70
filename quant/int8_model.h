// An int8 network as plain data: what the quantizer makes, what a file holds, what Int8Net runs.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/image_normalization.h"
#include "nn/graph/graph.h"

namespace mininn::quant {

// What there is to say about a node of the network besides what the graph says.
struct LayerNote {
  std::string op;        // what it is of the float network, for people: "conv2d+add+relu"; empty: it only passes on
  std::string in_float;  // why it works on real numbers where the float network does; empty if it has an int8 form

  // Signal to noise against the float network in dB, measured by the calibrator and not kept in files; NaN if unknown.
  // Local: with this node's inputs taken from the float network; total: with those of the int8 network.
  double sqnr_local = std::numeric_limits<double>::quiet_NaN();
  double sqnr_total = std::numeric_limits<double>::quiet_NaN();
};

struct Int8Model {
  // Ops on codes (docs/int8.md), and float ops between a dequantize and a quantize where an op has no int8 form. One
  // input, [N,...] f32 or the bytes of images, and one output.
  nn::graph::Graph graph;
  std::vector<LayerNote> layers;                    // of each node
  std::optional<ImageNormalization> normalization;  // folded into the weights: the input is raw bytes
  int64_t graph_macs = 0;                           // per image, of the float graph's convolutions and products
  std::map<std::string, std::string> calibration;   // how the scales came about

  const nn::graph::Value& input() const { return graph.values[size_t(graph.inputs[0])]; }
  const nn::graph::Value& output() const { return graph.values[size_t(graph.outputs[0])]; }

  // Throws ValueError, ShapeError or DTypeError naming the node or value unless everything fits together: the graph's
  // own rules, what every op makes of its inputs, weights and sums within 32 bits, a batch that goes through to the
  // result, and names and notes that are UTF-8 text. Nothing else in this folder trusts a model before this. The limits
  // on sizes and work are in docs/int8.md.
  void validate() const;
};

// Throws ValueError or ShapeError naming the node unless examples go through all of the graph one after another: then
// they can go together as they come.
void check_batch(const nn::graph::Graph& g);
// Whether a node is a convolution or a linear layer on codes.
bool is_int8_layer(const nn::graph::Node& n);
// Multiply-accumulates of each node for one image; 0 for others than layers and products.
std::vector<int64_t> macs(const nn::graph::Graph& g);
// What each value is for one image.
std::vector<TensorInfo> infos_of_one(const nn::graph::Graph& g);
// Numbers that a value takes in memory: codes have channels rounded up to four.
int64_t stored_numbers(const TensorInfo& t);
// Of how many pixels' codes value `id` is the sum, where the graph's values are like these; 0 if it is none.
int64_t summed_pixels(const nn::graph::Graph& g, std::span<const TensorInfo> values, int id);

}  // namespace mininn::quant
