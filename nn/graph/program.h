// A graph made ready to answer often.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tuner.h"
#include "nn/graph/graph.h"
#include "nn/graph/memory_plan.h"

namespace mininn::nn::graph {

// Calls with at most `most` rows run the kernels that were chosen for `sample` rows.
struct BatchClass {
  int64_t sample = 1;
  int64_t most = std::numeric_limits<int64_t>::max();
};

// Its constants' kernels are chosen and their weights packed when it is made. The first call with inputs of a new shape
// or layout captures (core/capture.h) what the ops do with them: every kernel call, and when each intermediate value is
// needed, so that these share one block of memory. After that a call is the list of its kernels: no op looks at shapes,
// nothing is allocated but the results, and consecutive kernels share one parallel region. The last 16 such lists are
// kept.
//
// A program has constants of its own: what is written to the graph's later changes nothing. Cheap to copy; any number
// of threads may call one at once.
//
// The tuner chooses the kernels (core/tuner.h): each by itself, and for one row then by the time of the whole program,
// since weights that one layer's kernel spreads out push those of the others from the caches. Kernels of fp32
// convolutions round differently: results are the same bits run to run with the same tuning file, once it knows all
// layers, or with MININN_TUNE=off. Then they are also the bits of run() (nn/graph/executor.h) under the preference that
// the program was made with.
class Program {
 public:
  // With the preference and the number of threads of this moment. `classes` ascend by `most`; a larger batch is of the
  // last one. Other calls than those of a class's `sample` run too, but some vendor kernels then pack anew every time.
  // Throws ValueError for a graph that breaks a rule, a sample that is not of its own class, or a MININN_TUNE
  // that is neither on nor off, and whatever the ops throw.
  Program(Graph g, std::vector<BatchClass> classes);
  // One class, of calls about as large as `batch`.
  explicit Program(Graph g, int64_t batch = 1) : Program(std::move(g), {BatchClass{batch}}) {}

  // The outputs for `inputs`, as run() gives them, and with its errors.
  std::vector<Tensor> run(std::span<const Tensor> inputs) const;
  Tensor operator()(const Tensor& input) const;  // for one input and one output
  // The same into tensors that are there, without any allocation once inputs like these were seen. They have the shape,
  // strides, dtype, device and qparams() of what run() gives (ShapeError, DTypeError, DeviceError, ValueError), and
  // memory apart from each other's and from that of the inputs; behind a pixel's channels codes may be overwritten.
  void run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs) const;

  // One node alone, as calls with these inputs run it: for looking at values on the way.
  Tensor call(size_t node, std::span<const Tensor> inputs) const;

  const Graph& graph() const;
  const std::vector<BatchClass>& classes() const;
  // How the nodes are run in a class of batches.
  struct NodeReport {
    std::string kernel;         // several with "+" between; empty for a view
    std::vector<Trial> trials;  // what the tuner measured, fastest first
    Tensor packed;              // constants in the kernel's form; undefined: there are none
  };
  std::vector<NodeReport> report(size_t batch_class) const;
  // Bytes of the block that holds the intermediate values of so many rows. Throws Error for more than memory has.
  int64_t arena_bytes(int64_t rows) const;
  // What lies in that block. Nodes are numbered as in graph().
  std::vector<ArenaPiece> arena(int64_t rows) const;
  // What each node takes of a call, in ms: medians of `repeats` calls. Throws ValueError for repeats below 1.
  std::vector<double> profile(std::span<const Tensor> inputs, int repeats) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mininn::nn::graph
