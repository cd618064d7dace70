// Running a graph with the ops it names.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "nn/graph/graph.h"

namespace mininn::nn::graph {

// Called with each value the run makes, graph inputs included, right after it exists.
using ValueObserver = std::function<void(int id, const Tensor& value)>;

// The outputs for `inputs`, without gradients; intermediate values are freed after their last use. The batch size may
// differ from the traced one. Throws KernelError for an op that is not in the table, ShapeError for inputs that do not
// fit, and whatever the ops throw.
std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe = {});

// The same for a graph with one input and one output.
Tensor run(const Graph& g, const Tensor& input, const ValueObserver& observe = {});

}  // namespace mininn::nn::graph
