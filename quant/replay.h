// Many inputs on their way through a network together, node by node: what each layer reads, without running the whole
// network once per layer.
#pragma once

#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "nn/graph/graph.h"

namespace mininn::quant {

// Of a graph with one input. The graph's nodes must be passed in their order; constants may change until the nodes that
// read them have been passed. What no later node reads is let go of: memory is needed for all inputs at the widest
// place of the network.
class Replay {
 public:
  // `g` must outlive it.
  explicit Replay(const nn::graph::Graph& g);

  // Another batch, before any node is passed.
  void enter(const Tensor& x);
  // Calls fn(inputs) for each batch with what node n, the next one, reads.
  void each(const nn::graph::Node& n, const std::function<void(std::span<const Tensor>)>& fn) const;
  // Runs node n on every batch.
  void pass(const nn::graph::Node& n);

 private:
  using Batch = std::unordered_map<int, Tensor>;  // by value

  const nn::graph::Graph& g_;
  std::vector<int> left_;  // reads to come, of each value
  std::vector<Batch> batches_;
};

}  // namespace mininn::quant
