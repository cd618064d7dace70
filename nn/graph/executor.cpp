#include "nn/graph/executor.h"

#include "core/autograd.h"

namespace mininn::nn::graph {

std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const NodeCall& call,
                        const ValueObserver& observe) {
  infer(g, infos(inputs));  // refuses a batch before anything runs
  const NoGradGuard no_grad;
  std::vector<int> uses = use_counts(g);
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
    y = call(i, args);
    if (observe) observe(n.output, y);
  }
  std::vector<Tensor> outputs;
  for (const int id : g.outputs) outputs.push_back(values[size_t(id)]);
  return outputs;
}

std::vector<Tensor> run(const Graph& g, std::span<const Tensor> inputs, const ValueObserver& observe) {
  g.validate();
  const auto call = [&](size_t i, std::span<const Tensor> in) { return g.nodes[i].op->call(in, g.nodes[i].attrs); };
  return run(g, inputs, call, observe);
}

Tensor run(const Graph& g, const Tensor& input, const ValueObserver& observe) {
  check_single_output(g);
  return run(g, std::span<const Tensor>(&input, 1), observe)[0];
}

void check_single_output(const Graph& g) {
  if (g.outputs.size() != 1) throw ShapeError(message("run: the graph has ", g.outputs.size(), " outputs, not 1"));
}

}  // namespace mininn::nn::graph
