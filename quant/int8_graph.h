// An int8 network as a graph of ops on codes, for a program to run.
#pragma once

#include <vector>

#include "nn/graph/graph.h"
#include "quant/int8_model.h"

namespace mininn::quant {

struct Int8Graph {
  nn::graph::Graph graph;   // x -> the network's result
  std::vector<int> values;  // of each value of the model: that of the graph
  std::vector<int> nodes;   // of each step
};

// Of a model that validates.
Int8Graph to_graph(const Int8Model& m);

}  // namespace mininn::quant
