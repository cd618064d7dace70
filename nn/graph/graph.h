// A network as plain data: what trace() records, what passes rewrite, what run() executes and quant/ compiles.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/op.h"

namespace mininn::nn::graph {

// Stands for an optional input that was not given.
inline constexpr int kAbsent = -1;

// A tensor of the network. Ids are positions in Graph::values.
struct Value {
  std::string name;  // a constant's is its parameter path, "layer1.0.conv1.weight"
  Shape shape;       // with the batch size of the traced example
  DType dtype = DType::f32;
  Tensor constant;  // defined for parameters, buffers and whatever else does not depend on the inputs
  std::optional<QParams> qparams = {};  // of codes
};

// One op call.
struct Node {
  const OpDef* op = nullptr;
  std::string name;  // unique: the parameters' path ("layer1.0.conv1") or op and counter ("relu_2")
  std::vector<int> inputs;
  int output = kAbsent;
  Attrs attrs;  // the op's options

  bool is(const OpDef& o) const { return op == &o; }
  // Those of an op that has such ones. Throws ValueError naming the node for others.
  template <class Options>
  Options options() const {
    try {
      return from_attrs<Options>(attrs);
    } catch (const ValueError& e) {
      throw ValueError(at(e));
    }
  }
  // What an error says, and where.
  std::string at(const Error& e) const;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;  // every node comes after those that make its inputs
  std::vector<int> inputs, outputs;

  int add_value(Value v);  // returns its id
  int add_constant(std::string name, const Tensor& t);
  // Returns the id of its result, which is called like the node and looks as the op infers from the inputs. Throws what
  // OpDef::infer throws.
  int add_node(const OpDef& op, std::string name, std::vector<int> inputs, Attrs attrs = {});
  TensorInfo info(int id) const;  // what a value is; none() for an absent one
  bool is_constant(int id) const { return id != kAbsent && bool(values[size_t(id)].constant); }

  // Makes the constants frozen copies (Tensor::frozen): nobody who holds one of them can change this graph.
  void freeze();
  // The constants on a device, which is where the graph then runs.
  void to(Device device);

  // Throws ValueError naming the first node or value that breaks a rule: ids in range, inputs made earlier, every value
  // made once, node names unique, constants shaped as they say, every node an op with its inputs and options there.
  // What takes a graph calls it.
  void validate() const;
};

// Of a graph that validates, per value: the node that makes it (kAbsent for inputs and constants), and how often nodes
// and graph outputs read it.
std::vector<int> producers(const Graph& g);
std::vector<int> use_counts(const Graph& g);

// The batch that the graph was traced with: the first size of its first input; 0 if it has none.
int64_t traced_batch(const Graph& g);
// What the inputs look like for a batch of this size: those whose first size is the traced batch have it.
std::vector<TensorInfo> batched_inputs(const Graph& g, int64_t batch);

// What a node gets where the graph's values are like these.
std::vector<TensorInfo> input_infos(const Node& n, std::span<const TensorInfo> values);

// What tensors given as inputs are. Throws ShapeError for one that is undefined.
std::vector<TensorInfo> infos(std::span<const Tensor> inputs);

// What each value is where the graph's inputs are like these: they may have another first size, the batch, than the
// traced example, all by the same factor. Throws ShapeError for inputs that do not fit, and naming a node that cannot
// take them or whose result does not grow like the batch: options that stand for the traced one are hidden in it.
std::vector<TensorInfo> infer(const Graph& g, std::span<const TensorInfo> inputs);

// One line per input, node and output; of any graph, one that breaks the rules too.
std::string to_string(const Graph& g);
std::ostream& operator<<(std::ostream& out, const Graph& g);

}  // namespace mininn::nn::graph
