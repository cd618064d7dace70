#include "nn/graph/executor.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/autograd.h"
#include "ops/batch_norm.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/reduce.h"
#include "ops/softmax.h"

namespace mininn::nn::graph {
namespace {

struct Call {
  const Graph& graph;
  const Node& node;
  std::span<const Tensor> in;  // undefined where an input is absent

  const Tensor& operator[](size_t i) const {
    static const Tensor absent;
    return i < in.size() ? in[i] : absent;
  }
};
using OpFn = Tensor (*)(const Call&);
struct Op {
  OpInputs inputs;
  OpFn run;
};
using OpTable = std::unordered_map<std::string_view, Op>;

Conv2dOptions conv_options(const Node& n) {
  return {.stride = n.pair("stride"),
          .padding = n.pair("padding"),
          .dilation = n.pair("dilation"),
          .groups = n.integer("groups")};
}

Pool2dOptions pool_options(const Node& n) {
  return {.kernel = n.pair("kernel"), .stride = n.pair("stride"), .padding = n.pair("padding")};
}

int small(const Call& c, std::string_view attr, int64_t v) {
  if (!std::in_range<int>(v)) throw ValueError(message("node ", c.node.name, ": attribute '", attr, "' holds ", v));
  return int(v);
}
int dim(const Call& c) { return small(c, "dim", c.node.integer("dim")); }
std::vector<int> dims(const Call& c) {
  std::vector<int> out;
  for (const int64_t v : c.node.list("dims")) out.push_back(small(c, "dims", v));
  return out;
}

const Shape& traced(const Call& c, int id) { return c.graph.values[size_t(id)].shape; }

// The traced output shape for another batch size, if the traced call says where that goes: into the first size.
Shape rebatched(const Call& c, const Tensor& x) {
  const Shape& before = traced(c, c.node.inputs[0]);
  Shape shape = traced(c, c.node.output);
  if (x.shape() == before) return shape;
  Shape grown = before;
  grown[0] = x.size(0);
  // reshape(x, {2, -1}) and reshape(x, {2, n}) grow in their second size, unless the 2 is the batch or so many of them.
  const auto grows_elsewhere = [&] {
    if (c.node.op != "reshape") return false;
    const auto& sizes = c.node.list("shape");
    return !sizes.empty() && sizes[0] != -1 &&
           (shape[0] % before[0] != 0 ||
            (shape[0] != before[0] && std::find(sizes.begin() + 1, sizes.end(), -1) != sizes.end()));
  };
  if (shape.rank() == 0 || before[0] == 0 || grown != x.shape() || grows_elsewhere() ||
      shape[0] * x.size(0) % before[0] != 0)
    throw ShapeError(
        message(c.node.op, " at ", c.node.name, ": traced as ", before, " -> ", shape, ", cannot take ", x.shape()));
  shape[0] = shape[0] * x.size(0) / before[0];
  return shape;
}

// An enum with a byte for its number. What that is none of, the op refuses.
template <class Enum>
Enum enum_of(const Call& c, std::string_view attr) {
  const int64_t v = c.node.integer(attr);
  if (v < 0 || v > 255) throw ValueError(message("node ", c.node.name, ": attribute '", attr, "' is ", v));
  return Enum(v);
}

Tensor run_batch_norm(const Call& c) {
  Tensor mean = c[3], var = c[4];
  return batch_norm(c[0], c[1], c[2], mean, var, {.training = false, .eps = c.node.number("eps")});
}

Tensor run_expand(const Call& c) {
  const Shape& before = traced(c, c.node.inputs[0]);
  Shape shape = traced(c, c.node.output);
  if (before.rank() == shape.rank() && before.rank() > 0 && before[0] == shape[0]) shape[0] = c[0].size(0);
  return expand(c[0], shape);
}

Tensor run_pad(const Call& c) {
  const auto& flat = c.node.list("pads");
  if (flat.size() % 2 != 0)
    throw ValueError(message("node ", c.node.name, ": attribute 'pads' holds ", flat.size(), " numbers, no pairs"));
  std::vector<std::pair<int64_t, int64_t>> pads;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) pads.emplace_back(flat[i], flat[i + 1]);
  return pad(c[0], pads, c.node.number("value"));
}

// Which inputs an op takes, in the order it is recorded with, stands beside how it runs.
OpTable make_table() {
  constexpr OpInputs kOne{1, 1}, kTwo{2, 2};
  OpTable t{
      {"conv2d", {{3, 3, {2}}, [](const Call& c) { return conv2d(c[0], c[1], c[2], conv_options(c.node)); }}},
      {"conv2d_fused",
       {{4, 4, {2, 3}},
        [](const Call& c) {
          return conv2d_fused(c[0], c[1], c[2], c[3], c.node.integer("relu") != 0, conv_options(c.node));
        }}},
      {"linear", {{3, 3, {2}}, [](const Call& c) { return linear(c[0], c[1], c[2]); }}},
      {"matmul", {kTwo, [](const Call& c) { return matmul(c[0], c[1]); }}},
      {"batch_norm", {{5, 5, {1, 2}}, run_batch_norm}},
      {"max_pool2d", {kOne, [](const Call& c) { return max_pool2d(c[0], pool_options(c.node)); }}},
      {"avg_pool2d",
       {kOne,
        [](const Call& c) {
          return avg_pool2d(c[0], pool_options(c.node), c.node.integer("count_include_pad") != 0);
        }}},
      {"global_avg_pool2d", {kOne, [](const Call& c) { return global_avg_pool2d(c[0]); }}},
      {"softmax", {kOne, [](const Call& c) { return softmax(c[0], dim(c)); }}},
      {"log_softmax", {kOne, [](const Call& c) { return log_softmax(c[0], dim(c)); }}},
      {"sum", {kOne, [](const Call& c) { return sum(c[0], dims(c), c.node.integer("keepdim") != 0); }}},
      {"mean", {kOne, [](const Call& c) { return mean(c[0], dims(c), c.node.integer("keepdim") != 0); }}},
      {"amax", {kOne, [](const Call& c) { return amax(c[0], dims(c), c.node.integer("keepdim") != 0); }}},
      {"argmax", {kOne, [](const Call& c) { return argmax(c[0], dim(c), c.node.integer("keepdim") != 0); }}},
      {"cast", {kOne, [](const Call& c) { return cast(c[0], enum_of<DType>(c, "dtype")); }}},
      {"reshape", {kOne, [](const Call& c) { return reshape(c[0], rebatched(c, c[0])); }}},
      {"flatten", {kOne, [](const Call& c) { return reshape(c[0], rebatched(c, c[0])); }}},
      {"permute", {kOne, [](const Call& c) { return permute(c[0], dims(c)); }}},
      {"expand", {kOne, run_expand}},
      {"slice",
       {kOne,
        [](const Call& c) {
          return slice(c[0], dim(c), c.node.integer("begin"), c.node.integer("end"), c.node.integer("step"));
        }}},
      {"cat",
       {{1, std::numeric_limits<size_t>::max()},
        [](const Call& c) {
          return cat({c.in.begin(), c.in.end()}, dim(c));
        }}},
      {"pad", {kOne, run_pad}},
      {"contiguous", {kOne, [](const Call& c) { return contiguous(c[0], enum_of<MemoryFormat>(c, "format")); }}},
  };
  op::for_each_functor(op::UnaryOps(), [&]<class F>() {
    t[F::op] = {kOne, [](const Call& c) { return unary<F>(c[0]); }};
  });
  op::for_each_functor(op::BinaryOps(), [&]<class F>() {
    t[F::op] = {kTwo, [](const Call& c) { return binary<F>(c[0], c[1]); }};
  });
  op::for_each_functor(op::ScalarOps(), [&]<class F>() {
    t[F::op] = {kOne, [](const Call& c) { return scalar<F>(c[0], c.node.number("value")); }};
  });
  return t;
}

const Op* table_entry(std::string_view op) {
  static const OpTable table = make_table();
  const auto found = table.find(op);
  return found == table.end() ? nullptr : &found->second;
}

void check_input(const Graph& g, size_t i, const Tensor& t) {
  const Value& v = g.values[size_t(g.inputs[i])];
  bool fits = t && t.dtype() == v.dtype && t.rank() == v.shape.rank();
  for (int d = 1; fits && d < t.rank(); ++d) fits = t.size(d) == v.shape[d];
  if (!fits)
    throw ShapeError(message("run: input ", i, " (", v.name, ") must look like ", name(v.dtype), v.shape,
                             " with any first size, not ", t ? message(name(t.dtype()), t.shape()) : "undefined"));
}

// The first size of the inputs: that of the traced example and that of a run.
struct Batch {
  int64_t traced = 1, now = 1;
};

Batch batch_of(const Graph& g, std::span<const Tensor> inputs) {
  Batch b;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = g.values[size_t(g.inputs[i])].shape;
    if (inputs[i].shape() == shape) continue;
    if (b.now != b.traced && b.now * shape[0] != b.traced * inputs[i].size(0))
      throw ShapeError(message("run: one input has ", b.now, " rows instead of ", b.traced, ", another ",
                               inputs[i].size(0), " instead of ", shape[0]));
    b = {shape[0], inputs[i].size(0)};
  }
  return b;
}

// Throws unless the result of a node is right for another batch than the traced one. Most ops have no sizes of their
// own; in those that have, and in constants, the traced batch may be hidden.
void check_batch(const Call& c, const Batch& b, const Tensor& y) {
  constexpr std::string_view kSized[] = {"reshape", "flatten", "expand", "slice", "pad"};
  constexpr std::string_view kReduces[] = {"sum", "mean", "amax", "argmax", "matmul"};
  const auto is_one_of = [&](const auto& ops) { return std::ranges::find(ops, c.node.op) != std::end(ops); };
  bool grows = is_one_of(kSized);
  for (size_t i = 0; i < c.in.size() && !is_one_of(kReduces); ++i)
    grows = grows || (c.in[i] && c.in[i].shape() != traced(c, c.node.inputs[i]));
  if (!grows) return;
  const Shape& before = traced(c, c.node.output);
  int grown = 0;
  bool like_batch = y.rank() == before.rank();
  for (int d = 0; like_batch && d < y.rank(); ++d)
    if (y.size(d) != before[d]) {
      ++grown;
      like_batch = y.size(d) * b.traced == before[d] * b.now;
    }
  if (!like_batch || grown != 1)
    throw ShapeError(message("run: ", c.node.op, " at ", c.node.name, " gives ", y.shape(), " for ", b.now,
                             " rows and ", before, " for the ", b.traced,
                             " it was traced with: it does not grow with the batch"));
}

OpFn find_op(const Node& n) {
  const Op* const op = table_entry(n.op);
  if (!op) throw KernelError(message("run: cannot execute op ", n.op, " at node ", n.name));
  return op->run;
}

// compute(i, call) runs node i.
template <class Compute>
std::vector<Tensor> run_nodes(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe,
                              std::vector<int> uses, const Compute& compute) {
  if (inputs.size() != g.inputs.size())
    throw ShapeError(message("run: the graph has ", g.inputs.size(), " inputs, not ", inputs.size()));
  const NoGradGuard no_grad;
  std::vector<Tensor> values(g.values.size());
  for (size_t i = 0; i < g.values.size(); ++i) values[i] = g.values[i].constant;
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_input(g, i, inputs[i]);
    values[size_t(g.inputs[i])] = inputs[i];
    if (observe) observe(g.inputs[i], inputs[i]);
  }
  const Batch batch = batch_of(g, inputs);
  std::vector<Tensor> args;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    args.clear();
    for (const int id : n.inputs) {
      args.push_back(id == kAbsent ? Tensor() : values[size_t(id)]);
      if (id != kAbsent && --uses[size_t(id)] == 0) values[size_t(id)] = {};
    }
    Tensor& y = values[size_t(n.output)];
    const Call call{g, n, args};
    y = compute(i, call);
    if (batch.now != batch.traced) check_batch(call, batch, y);
    if (observe) observe(n.output, y);
  }
  std::vector<Tensor> outputs;
  for (const int id : g.outputs) outputs.push_back(values[size_t(id)]);
  return outputs;
}

void check_single(const Graph& g) {
  if (g.outputs.size() != 1) throw ShapeError(message("run: the graph has ", g.outputs.size(), " outputs, not 1"));
}

// The shape that value `id` has where the graph's first input brings `batch` examples.
Shape batched(const Graph& g, int id, int64_t batch) {
  Shape shape = g.values[size_t(id)].shape;
  const Shape& input = g.values[size_t(g.inputs.at(0))].shape;
  if (input.rank() > 0 && shape.rank() > 0 && input[0] > 0 && shape[0] % input[0] == 0)
    shape[0] = shape[0] / input[0] * batch;
  return shape;
}

// The convolution at node `n` with packed weights, if it is one and its weights are constants.
std::optional<PackedConv2d> packed_conv(const Graph& g, const Node& n, int64_t batch) {
  const bool fused = n.op == "conv2d_fused";
  if (!fused && n.op != "conv2d") return {};
  const int x = n.inputs[0], w = n.inputs[1], bias = n.inputs[2];
  if (!g.is_constant(w) || (bias != kAbsent && !g.is_constant(bias))) return {};
  const auto constant = [&](int id) { return id == kAbsent ? Tensor() : g.values[size_t(id)].constant; };
  return PackedConv2d(batched(g, x, batch), constant(w), constant(bias), fused && n.inputs[3] != kAbsent,
                      fused && n.integer("relu") != 0, conv_options(n));
}

}  // namespace

const OpInputs* inputs_of(std::string_view op) {
  const Op* const entry = table_entry(op);
  return entry ? &entry->inputs : nullptr;
}

std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe) {
  g.validate();
  return run_nodes(g, inputs, observe, use_counts(g), [](size_t, const Call& c) { return find_op(c.node)(c); });
}

Tensor run(const Graph& g, const Tensor& input, const ValueObserver& observe) {
  check_single(g);
  return run(g, std::span<const Tensor>(&input, 1), observe)[0];
}

struct CompiledGraph::Program {
  Graph graph;
  std::vector<int> uses;
  std::vector<OpFn> ops;                           // per node
  std::vector<std::optional<PackedConv2d>> convs;  // per node; instead of its op
};

CompiledGraph::CompiledGraph(Graph g, int64_t batch) {
  if (batch < 1) throw ValueError(message("compile: a batch of ", batch));
  g.validate();
  g.freeze();
  Program p;
  for (const Node& n : g.nodes) {
    p.ops.push_back(find_op(n));
    p.convs.push_back(packed_conv(g, n, batch));
  }
  p.uses = use_counts(g);
  p.graph = std::move(g);
  program_ = std::make_shared<const Program>(std::move(p));
}

std::vector<Tensor> CompiledGraph::run(std::span<const Tensor> inputs) const {
  const Program& p = *program_;
  return run_nodes(p.graph, inputs, {}, p.uses,
                   [&](size_t i, const Call& c) { return p.convs[i] ? (*p.convs[i])(c[0], c[3]) : p.ops[i](c); });
}

Tensor CompiledGraph::operator()(const Tensor& input) const {
  check_single(program_->graph);
  return run(std::span<const Tensor>(&input, 1))[0];
}

}  // namespace mininn::nn::graph
