// Running a graph with the ops it names.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nn/graph/graph.h"

namespace mininn::nn::graph {

// Called with each value the run makes, graph inputs included, right after it exists.
using ValueObserver = std::function<void(int id, const Tensor& value)>;

// The outputs for `inputs`, without gradients; intermediate values are freed after their last use. The first size of
// the inputs, the batch, may differ from the traced one, by the same factor for all. What the traced calls took from it
// is frozen: the end of a slice, the rows of zeros to join with. Then a node whose result does not grow like the batch
// is an error. Throws ValueError for a graph that breaks a rule, ShapeError for inputs that do not fit and for a batch
// that a node cannot take (infer), and whatever the ops throw.
std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe = {});

// The same for a graph with one input and one output.
Tensor run(const Graph& g, const Tensor& input, const ValueObserver& observe = {});

// The same, of a graph that validates, with other calls in place of its nodes' ops: call(i, inputs) is node i.
using NodeCall = std::function<Tensor(size_t i, std::span<const Tensor> inputs)>;
std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const NodeCall& call,
                        const ValueObserver& observe = {});

// Throws ShapeError unless the graph has one output.
void check_single_output(const Graph& g);

}  // namespace mininn::nn::graph
