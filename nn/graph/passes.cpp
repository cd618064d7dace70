#include "nn/graph/passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"

namespace mininn::nn::graph {
namespace {

// Lets everything that reads `from` read `to`.
void replace_uses(Graph& g, int from, int to) {
  for (Node& n : g.nodes) std::replace(n.inputs.begin(), n.inputs.end(), from, to);
  std::replace(g.outputs.begin(), g.outputs.end(), from, to);
}

// The single node that reads value `id`; null if there are more, none, or if it is a graph output.
const Node* only_consumer(const Graph& g, const std::vector<int>& uses, int id) {
  if (uses[size_t(id)] != 1) return nullptr;
  for (const Node& n : g.nodes)
    if (std::find(n.inputs.begin(), n.inputs.end(), id) != n.inputs.end()) return &n;
  return nullptr;
}

// Every value for three times the batch; none where the graph takes no other. What is equal for the traced batch may
// differ for others.
std::optional<std::vector<TensorInfo>> grown(const Graph& g) {
  const int64_t batch = traced_batch(g);
  if (batch > std::numeric_limits<int64_t>::max() / 3) return {};
  try {
    return infer(g, batched_inputs(g, 3 * batch));
  } catch (const ShapeError&) {
    return {};
  }
}

bool is_identity(const Graph& g, const std::optional<std::vector<TensorInfo>>& grown, const Node& n) {
  if (n.is(opdef::contiguous)) return true;
  const auto x = size_t(n.inputs[0]), y = size_t(n.output);
  if (g.values[x].shape != g.values[y].shape) return false;
  return n.is(opdef::flatten) || (n.is(opdef::reshape) && grown && (*grown)[x].shape == (*grown)[y].shape);
}

bool has_constant_weights(const Graph& g, const Node& n) {
  return (n.is(opdef::conv2d) || n.is(opdef::linear)) && g.is_constant(n.inputs[1]) &&
         (n.inputs[2] == kAbsent || g.is_constant(n.inputs[2]));
}

// Longest way from any graph input to each value, in nodes.
std::vector<int> depths(const Graph& g) {
  std::vector<int> depth(g.values.size(), 0);
  for (const Node& n : g.nodes)
    for (const int id : n.inputs)
      if (id != kAbsent) depth[size_t(n.output)] = std::max(depth[size_t(n.output)], depth[size_t(id)] + 1);
  return depth;
}

}  // namespace

Graph eliminate_dead_code(Graph g) {
  g.validate();
  std::vector<bool> live(g.values.size(), false);
  for (const int id : g.inputs) live[size_t(id)] = true;
  for (const int id : g.outputs) live[size_t(id)] = true;
  std::vector<Node> nodes;
  for (auto n = g.nodes.rbegin(); n != g.nodes.rend(); ++n) {
    if (!live[size_t(n->output)]) continue;
    for (const int id : n->inputs)
      if (id != kAbsent) live[size_t(id)] = true;
    nodes.push_back(std::move(*n));
  }
  std::reverse(nodes.begin(), nodes.end());
  g.nodes = std::move(nodes);

  std::vector<int> renamed(g.values.size(), kAbsent);
  std::vector<Value> values;
  for (size_t i = 0; i < g.values.size(); ++i)
    if (live[i]) {
      renamed[i] = int(values.size());
      values.push_back(std::move(g.values[i]));
    }
  g.values = std::move(values);
  const auto rename = [&](int& id) { id = id == kAbsent ? kAbsent : renamed[size_t(id)]; };
  for (Node& n : g.nodes) {
    std::for_each(n.inputs.begin(), n.inputs.end(), rename);
    rename(n.output);
  }
  std::for_each(g.inputs.begin(), g.inputs.end(), rename);
  std::for_each(g.outputs.begin(), g.outputs.end(), rename);
  return g;
}

Graph remove_identity(Graph g) {
  g.validate();
  const auto other = grown(g);
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (const Node& n = g.nodes[i]; is_identity(g, other, n)) replace_uses(g, n.output, n.inputs[0]);
  // The nodes themselves stay, read by nobody, until here.
  return eliminate_dead_code(std::move(g));
}

Graph fold_batch_norm(Graph g) {
  g.validate();
  const std::vector<int> made_by = producers(g);
  std::vector<int> uses = use_counts(g);
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    if (!g.nodes[i].is(opdef::batch_norm)) continue;
    const Node bn = g.nodes[i];
    const auto options = bn.options<BatchNormOptions>();
    if (options.training) continue;
    const int from = made_by[size_t(bn.inputs[0])];
    if (from == kAbsent || uses[size_t(bn.inputs[0])] != 1 || !has_constant_weights(g, g.nodes[size_t(from)])) continue;
    const auto constant = [&](int id) {
      return id == kAbsent ? std::vector<double>() : g.values[size_t(id)].constant.to_vector();
    };
    if (!std::all_of(bn.inputs.begin() + 1, bn.inputs.end(),
                     [&](int id) { return id == kAbsent || g.is_constant(id); }))
      continue;

    Node& producer = g.nodes[size_t(from)];
    const Value weight = g.values[size_t(producer.inputs[1])];
    // What does not fit stays for run() to refuse.
    const int64_t channels = weight.shape.rank() > 0 ? weight.shape[0] : 0;
    const auto fits = [&](int id) { return id == kAbsent || g.values[size_t(id)].shape == Shape{channels}; };
    if (channels == 0 || !std::all_of(bn.inputs.begin() + 1, bn.inputs.end(), fits) || !fits(producer.inputs[2]))
      continue;
    const std::vector<double> gamma = constant(bn.inputs[1]), beta = constant(bn.inputs[2]),
                              mean = constant(bn.inputs[3]), var = constant(bn.inputs[4]),
                              old_bias = constant(producer.inputs[2]);
    std::vector<double> w = weight.constant.to_vector(), b(mean.size());
    const size_t per_channel = w.size() / mean.size();
    for (size_t o = 0; o < mean.size(); ++o) {
      const double k = (gamma.empty() ? 1.0 : gamma[o]) / std::sqrt(var[o] + options.eps);
      for (size_t j = 0; j < per_channel; ++j) w[o * per_channel + j] *= k;
      b[o] = (beta.empty() ? 0.0 : beta[o]) + k * ((old_bias.empty() ? 0.0 : old_bias[o]) - mean[o]);
    }
    const auto as_constant = [&](const std::string& name, const std::vector<double>& v, const Shape& shape) {
      Tensor t = Tensor::empty(shape, weight.dtype, weight.constant.device());
      t.copy_from(Tensor::from(v, shape));
      return g.add_constant(name, t.set_name(name));
    };
    const std::string bias_name = producer.name + ".bias";
    const int new_weight = as_constant(weight.name, w, weight.shape);
    const int new_bias = as_constant(bias_name, b, Shape{int64_t(b.size())});
    producer.inputs[1] = new_weight;
    producer.inputs[2] = new_bias;
    replace_uses(g, bn.output, bn.inputs[0]);
    uses[size_t(bn.inputs[0])] = uses[size_t(bn.output)];  // another batch norm may read it, alone or not
  }
  return eliminate_dead_code(std::move(g));
}

Graph convolve_batch_norm(Graph g) {
  g.validate();
  std::vector<Node> nodes;
  for (Node& bn : g.nodes) {
    const Value x = g.values[size_t(bn.inputs[0])];
    const bool constants =
        std::all_of(bn.inputs.begin() + 1, bn.inputs.end(), [&](int id) { return id == kAbsent || g.is_constant(id); });
    if (bn.is(opdef::batch_norm) && x.shape.rank() == 4 && constants) {
      // A convolution that changes nothing, for the batch norm to be folded into.
      const int64_t channels = x.shape[1];
      const Tensor ones =
          Tensor::full({channels, 1, 1, 1}, 1, x.dtype, g.values[size_t(bn.inputs[3])].constant.device());
      const int w = g.add_constant(bn.name + ".weight", ones);
      const int y = g.add_value({.name = bn.name, .shape = x.shape, .dtype = x.dtype, .constant = {}});
      nodes.push_back(
          {&opdef::conv2d, bn.name, {bn.inputs[0], w, kAbsent}, y, to_attrs(Conv2dParams{.groups = channels})});
      bn.inputs[0] = y;
      bn.name += ".norm";
    }
    nodes.push_back(std::move(bn));
  }
  g.nodes = std::move(nodes);
  return fold_batch_norm(std::move(g));
}

Graph fuse_conv(Graph g) {
  g.validate();
  const std::vector<int> made_by = producers(g), uses = use_counts(g), depth = depths(g);
  std::vector<bool> absorbed(g.nodes.size(), false);
  std::vector<Node> fused_at(g.nodes.size());  // a fused node takes the place of the last node that went into it

  // Whether value `id` comes from a convolution that only its one consumer reads and that no add has taken yet.
  const auto free_conv = [&](int id) {
    const int by = made_by[size_t(id)];
    return by != kAbsent && uses[size_t(id)] == 1 && g.nodes[size_t(by)].is(opdef::conv2d) && !absorbed[size_t(by)];
  };
  const auto other = grown(g);
  const auto same_shape = [&](int a, int b) {
    return g.values[size_t(a)].shape == g.values[size_t(b)].shape &&
           (!other || (*other)[size_t(a)].shape == (*other)[size_t(b)].shape);
  };
  const auto index_of = [&](const Node* n) { return size_t(n - g.nodes.data()); };
  // Appends the relu that alone reads node `last`, if there is one, and puts the fused node there.
  const auto place = [&](Node fused, size_t last) {
    fused.output = g.nodes[last].output;
    const Node* next = only_consumer(g, uses, fused.output);
    const bool relu = next && next->is(opdef::functor<op::Relu>);
    if (relu) {
      fused.output = next->output;
      absorbed[last = index_of(next)] = true;
    }
    fused.attrs = to_attrs(Conv2dFusedOptions{fused.options<Conv2dParams>(), relu});
    fused_at[last] = std::move(fused);
  };
  const auto start = [&](size_t conv) {
    Node fused = g.nodes[conv];
    fused.op = &opdef::conv2d_fused;
    fused.inputs.resize(4, kAbsent);
    absorbed[conv] = true;
    return fused;
  };

  for (size_t i = 0; i < g.nodes.size(); ++i) {
    const Node& add = g.nodes[i];
    if (!add.is(opdef::functor<op::Add>) || add.inputs[0] == add.inputs[1] || !same_shape(add.inputs[0], add.inputs[1]))
      continue;
    if (g.is_constant(add.inputs[0]) || g.is_constant(add.inputs[1])) continue;  // its batch size would be frozen
    const bool a = free_conv(add.inputs[0]), b = free_conv(add.inputs[1]);
    if (!a && !b) continue;
    const bool take_a = a && (!b || depth[size_t(add.inputs[0])] >= depth[size_t(add.inputs[1])]);
    Node fused = start(size_t(made_by[size_t(add.inputs[take_a ? 0 : 1])]));
    fused.inputs[3] = add.inputs[take_a ? 1 : 0];
    absorbed[i] = true;
    place(std::move(fused), i);
  }
  for (size_t i = 0; i < g.nodes.size(); ++i)
    if (g.nodes[i].is(opdef::conv2d) && !absorbed[i]) place(start(i), i);

  std::vector<Node> nodes;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    if (fused_at[i].op)
      nodes.push_back(std::move(fused_at[i]));
    else if (!absorbed[i])
      nodes.push_back(std::move(g.nodes[i]));
  }
  g.nodes = std::move(nodes);
  return eliminate_dead_code(std::move(g));
}

Graph optimize(Graph g) { return fuse_conv(fold_batch_norm(remove_identity(std::move(g)))); }

}  // namespace mininn::nn::graph
