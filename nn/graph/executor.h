// Running a graph with the ops it names.
#pragma once

#include <functional>
#include <memory>
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

// A graph made ready to answer often: its convolutions' kernels are chosen and their weights packed here, once. It has
// constants of its own: what is written to the graph's later changes nothing. Cheap to copy; any number of threads may
// call one at once.
//
// The tuner chooses (core/tuner.h), and the kernels of fp32 convolutions round differently: results are the same bits
// run to run with the same tuning file, once it knows all layers, or with MININN_TUNE=off. Then they are also the bits
// of run() under the preference that the graph was compiled with.
class CompiledGraph {
 public:
  // Chooses for batches of this size with the preference and the number of threads of this moment; other calls run too,
  // but some vendor kernels then pack anew every time. Throws ValueError for a graph that breaks a rule, a `batch`
  // below 1 or a MININN_TUNE that is neither on nor off, and whatever the convolutions throw.
  explicit CompiledGraph(Graph g, int64_t batch = 1);

  std::vector<Tensor> run(std::span<const Tensor> inputs) const;
  Tensor operator()(const Tensor& input) const;  // for one input and one output

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
};

}  // namespace mininn::nn::graph
