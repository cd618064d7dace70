// A network as plain data: what trace() records, what passes rewrite, what run() executes and quant/ compiles.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "core/tracer.h"
#include "ops/conv2d.h"

namespace mininn::nn::graph {

// Stands for an optional input that was not given.
inline constexpr int kAbsent = -1;

// A tensor of the network. Ids are positions in Graph::values.
struct Value {
  std::string name;  // a constant's is its parameter path, "layer1.0.conv1.weight"
  Shape shape;       // with the batch size of the traced example
  DType dtype = DType::f32;
  Tensor constant;  // defined for parameters, buffers and whatever else does not depend on the inputs
};

// One op call.
struct Node {
  std::string op;    // the name of the function in ops/: "conv2d"
  std::string name;  // unique: the parameters' path ("layer1.0.conv1") or op and counter ("relu_2")
  std::vector<int> inputs;
  int output = kAbsent;
  Attrs attrs;

  const AttrValue* find(std::string_view attr) const;  // null if there is none
  // The value of an attribute. Throw ValueError naming the node if it is missing or of another type.
  int64_t integer(std::string_view attr) const;
  double number(std::string_view attr) const;  // an integer counts as a number
  const std::vector<int64_t>& list(std::string_view attr) const;
  Hw pair(std::string_view attr) const;  // a list of two
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;  // every node comes after those that make its inputs
  std::vector<int> inputs, outputs;

  int add_value(Value v);  // returns its id
  int add_constant(std::string name, const Tensor& t);
  bool is_constant(int id) const { return id != kAbsent && bool(values[size_t(id)].constant); }

  // Makes the constants frozen copies (Tensor::frozen): nobody who holds one of them can change this graph.
  void freeze();

  // Throws ValueError naming the first node or value that breaks a rule: ids in range, inputs made earlier, every value
  // made once, node names unique, constants shaped as they say, every input of a known op (nn/graph/executor.h) there.
  // What takes a graph calls it.
  void validate() const;
};

// Of a graph that validates, per value: the node that makes it (kAbsent for inputs and constants), and how often nodes
// and graph outputs read it.
std::vector<int> producers(const Graph& g);
std::vector<int> use_counts(const Graph& g);

// One line per input, node and output; of any graph, one that breaks the rules too.
std::string to_string(const Graph& g);
std::ostream& operator<<(std::ostream& out, const Graph& g);

}  // namespace mininn::nn::graph
