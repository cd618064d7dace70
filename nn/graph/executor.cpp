#include "nn/graph/executor.h"

#include <optional>
#include <utility>

#include "core/autograd.h"
#include "core/tuner.h"
#include "ops/conv2d.h"

namespace mininn::nn::graph {
namespace {

std::vector<TensorInfo> infos(std::span<const Tensor> tensors) {
  std::vector<TensorInfo> out;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i]) throw ShapeError(message("run: input ", i, " is undefined"));
    out.push_back({tensors[i].shape(), tensors[i].dtype()});
  }
  return out;
}

// compute(i, inputs) runs node i.
template <class Compute>
std::vector<Tensor> run_nodes(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe,
                              std::vector<int> uses, const Compute& compute) {
  infer(g, infos(inputs));  // refuses a batch before anything runs
  const NoGradGuard no_grad;
  std::vector<Tensor> values(g.values.size());
  for (size_t i = 0; i < g.values.size(); ++i) values[i] = g.values[i].constant;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values[size_t(g.inputs[i])] = inputs[i];
    if (observe) observe(g.inputs[i], inputs[i]);
  }
  std::vector<Tensor> args;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& n = g.nodes[i];
    args.clear();
    for (const int id : n.inputs) {
      args.push_back(id == kAbsent ? Tensor() : values[size_t(id)]);
      if (id != kAbsent && --uses[size_t(id)] == 0) values[size_t(id)] = {};
    }
    Tensor& y = values[size_t(n.output)];
    y = compute(i, args);
    if (observe) observe(n.output, y);
  }
  std::vector<Tensor> outputs;
  for (const int id : g.outputs) outputs.push_back(values[size_t(id)]);
  return outputs;
}

void check_single(const Graph& g) {
  if (g.outputs.size() != 1) throw ShapeError(message("run: the graph has ", g.outputs.size(), " outputs, not 1"));
}

Tensor call(const Node& n, std::span<const Tensor> in) { return n.op->call(in, n.attrs); }

// What the values are for a batch of this size, or, of a graph that takes no other, for the traced one.
std::vector<TensorInfo> infer_batch(const Graph& g, int64_t batch) {
  try {
    return infer(g, batched_inputs(g, batch));
  } catch (const ShapeError&) {
    std::vector<TensorInfo> traced;
    for (const Value& v : g.values) traced.push_back({v.shape, v.dtype});
    return traced;
  }
}

// Whether `n` is a convolution whose weights are constants.
bool packs(const Graph& g, const Node& n) {
  if (!n.is(opdef::conv2d_fused) && !n.is(opdef::conv2d)) return false;
  const int bias = n.inputs[2];
  return g.is_constant(n.inputs[1]) && (bias == kAbsent || g.is_constant(bias));
}

// All convolutions' weights, which the network reads between two calls of one of them.
int64_t weight_bytes(const Graph& g) {
  int64_t bytes = 0;
  for (const Node& n : g.nodes) {
    if (!packs(g, n)) continue;
    const Tensor& w = g.values[size_t(n.inputs[1])].constant;
    bytes += w.numel() * int64_t(size_of(w.dtype()));
  }
  return bytes;
}

PackedConv2d packed_conv(const Graph& g, const Node& n, const std::vector<TensorInfo>& infos, int64_t between) {
  const bool fused = n.is(opdef::conv2d_fused);
  const auto constant = [&](int id) { return id == kAbsent ? Tensor() : g.values[size_t(id)].constant; };
  const auto o = fused ? n.options<Conv2dFusedOptions>() : Conv2dFusedOptions{n.options<Conv2dParams>(), false};
  return PackedConv2d(infos[size_t(n.inputs[0])].shape, constant(n.inputs[1]), constant(n.inputs[2]),
                      fused && n.inputs[3] != kAbsent, o.relu, o.conv, between);
}

}  // namespace

std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe) {
  g.validate();
  return run_nodes(g, inputs, observe, use_counts(g),
                   [&](size_t i, std::span<const Tensor> in) { return call(g.nodes[i], in); });
}

Tensor run(const Graph& g, const Tensor& input, const ValueObserver& observe) {
  check_single(g);
  return run(g, std::span<const Tensor>(&input, 1), observe)[0];
}

struct CompiledGraph::Program {
  Graph graph;
  std::vector<int> uses;
  std::vector<std::optional<PackedConv2d>> convs;  // per node; instead of its op
};

CompiledGraph::CompiledGraph(Graph g, int64_t batch) {
  if (batch < 1) throw ValueError(message("compile: a batch of ", batch));
  g.validate();
  g.freeze();
  Program p;
  const std::vector<TensorInfo> infos = infer_batch(g, batch);
  const int64_t between = weight_bytes(g);
  for (const Node& n : g.nodes) {
    auto& conv = p.convs.emplace_back();
    if (packs(g, n)) conv = packed_conv(g, n, infos, between);
  }
  if (Tuner* const tuner = process_tuner(op::Conv2dFwd::op)) tuner->save();
  p.uses = use_counts(g);
  p.graph = std::move(g);
  program_ = std::make_shared<const Program>(std::move(p));
}

std::vector<Tensor> CompiledGraph::run(std::span<const Tensor> inputs) const {
  const Program& p = *program_;
  return run_nodes(p.graph, inputs, {}, p.uses, [&](size_t i, std::span<const Tensor> in) {
    return p.convs[i] ? (*p.convs[i])(in[0], in.size() > 3 ? in[3] : Tensor()) : call(p.graph.nodes[i], in);
  });
}

Tensor CompiledGraph::operator()(const Tensor& input) const {
  check_single(program_->graph);
  return run(std::span<const Tensor>(&input, 1))[0];
}

}  // namespace mininn::nn::graph
