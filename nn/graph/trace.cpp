#include "nn/graph/trace.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "core/autograd.h"
#include "nn/graph/passes.h"
#include "ops/batch_norm.h"
#include "ops/dropout.h"
#include "ops/layout.h"
#include "ops/registry.h"

namespace mininn::nn {
namespace {

using graph::Graph;
using graph::kAbsent;

// Sizes among an op's options that stand for the batch follow the input: -1. They do in a reshape's or expand's first
// size, if the input's first size grows with the batch and the result's is the same, the batch, or so many times the
// batch where no other size is to be found out. `grown` is the input's shape for another batch.
Attrs rebatched(const OpDef& op, const Shape& x, const Shape& grown, const Shape& y, int64_t batch,
                const Attrs& attrs) {
  const bool reshapes = &op == &opdef::reshape, expands = &op == &opdef::expand;
  if ((!reshapes && !expands) || x.rank() == 0 || y.rank() == 0 || batch == 0 || x[0] == grown[0]) return attrs;
  ShapeOptions o = from_attrs<ShapeOptions>(attrs);
  if (expands) {
    if (x.rank() == y.rank() && x[0] == y[0]) o.shape[0] = -1;
  } else if (o.shape[0] != -1) {
    const bool open = std::find(o.shape.begin() + 1, o.shape.end(), -1) != o.shape.end();
    if (y[0] == x[0] || y[0] == batch || (!open && y[0] % batch == 0)) {
      o.shape = y;
      o.shape[0] = -1;
    }
  }
  return to_attrs(o);
}

class GraphTracer final : public Tracer {
 public:
  explicit GraphTracer(std::span<const Tensor> examples) {
    for (size_t i = 0; i < examples.size(); ++i) {
      if (!examples[i]) throw ValueError(message("trace: example ", i, " is undefined"));
      graph_.inputs.push_back(make_value(i ? message("input_", i) : "input", examples[i], info_of(examples[i])));
    }
    batch_ = graph::traced_batch(graph_);
    if (batch_ <= std::numeric_limits<int64_t>::max() / 3) grown_ = graph::batched_inputs(graph_, 3 * batch_);
  }

  void record(std::string_view op, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor& output) override {
    const auto varies = [&](const Tensor& t) {
      if (!t) return false;
      const auto it = seen_.find(t.id());
      return it == seen_.end() ? activations_.contains(t.storage().get()) : !graph_.is_constant(it->second.value);
    };
    // What depends on no input is a constant: remember nothing, and it is found as one where it is used.
    if (std::none_of(inputs.begin(), inputs.end(), varies)) return;

    graph::Node node;
    node.op = find_op(op);
    if (!node.op) throw ValueError(message("trace: ", op, " is in no list of ops (ops/registry.h)"));
    for (const Tensor& t : inputs) node.inputs.push_back(t ? id_of(op, t) : kAbsent);
    node.attrs =
        rebatched(*node.op, inputs[0].shape(), grown_[size_t(node.inputs[0])].shape, output.shape(), batch_, attrs);
    node.name = parameter_path(node);
    // Dropout records itself only when it drops.
    if (node.is(opdef::dropout) || (node.is(opdef::batch_norm) && node.options<BatchNormOptions>().training))
      throw ValueError(
          message("trace: ", op, node.name.empty() ? "" : " at " + node.name,
                  " is training; switch the network to evaluation (ParamStore::train(false)) before tracing it"));
    node.output = make_value({}, output, grown(node, output));
    graph_.nodes.push_back(std::move(node));
  }

  Graph finish(std::span<const Tensor> results) {
    for (const Tensor& t : results) {
      const auto it = t ? seen_.find(t.id()) : seen_.end();
      if (it == seen_.end())
        throw ValueError(
            message("trace: the result ", t ? to_string(t) : "(undefined)", " was not made by a recorded op"));
      graph_.outputs.push_back(it->second.value);
    }
    name_nodes();
    Graph g = graph::eliminate_dead_code(std::move(graph_));
    g.validate();
    return g;
  }

 private:
  // An op whose function calls other ops on the way records last and wins: its inner calls are then dead code.
  int make_value(std::string name, const Tensor& t, const TensorInfo& grown) {
    const int id = graph_.add_value(
        {.name = std::move(name), .shape = t.shape(), .dtype = t.dtype(), .constant = {}, .qparams = t.qparams()});
    remember(t, id, grown);
    activations_.insert(t.storage().get());
    return id;
  }

  // `grown`: what a new value is for the other batch.
  void remember(const Tensor& t, int id, const TensorInfo& grown) {
    seen_[t.id()] = {id, t.storage()->version(), t};
    grown_.push_back(grown);
  }

  // A constant is what it is now: a later write makes another one of it.
  int id_of(std::string_view op, const Tensor& t) {
    if (const auto it = seen_.find(t.id()); it != seen_.end()) {
      if (it->second.version == t.storage()->version()) return it->second.value;
      if (!graph_.is_constant(it->second.value))
        throw ValueError(message("trace: ", op, " reads an activation ", name(t.dtype()), t.shape(),
                                 " that was written to after the op that made it: writes are not recorded"));
    }
    if (activations_.contains(t.storage().get()))
      throw ValueError(message("trace: ", op, " reads a tensor ", name(t.dtype()), t.shape(),
                               " that shares memory with an activation but was made by no recorded op"));
    const std::string name = t.name().empty() ? message("constant_", ++unnamed_) : t.name();
    const int id = graph_.add_constant(name, t.clone().set_name(name));
    remember(t, id, {t.shape(), t.dtype()});
    return id;
  }

  // The node's result for the other batch; `y`, what it is for the traced one, where it takes no other.
  TensorInfo grown(const graph::Node& node, const Tensor& y) const {
    try {
      return node.op->infer(input_infos(node, grown_), node.attrs);
    } catch (const ShapeError&) {
      return {y.shape(), y.dtype()};
    }
  }

  // "layer1.0.conv1" for a node with the parameter "layer1.0.conv1.weight"; empty if it has none.
  std::string parameter_path(const graph::Node& node) const {
    for (const int id : node.inputs)
      if (graph_.is_constant(id)) {
        const std::string& path = graph_.values[size_t(id)].name;
        if (const size_t dot = path.rfind('.'); dot > 0 && dot != std::string::npos) return path.substr(0, dot);
      }
    return {};
  }

  // The first node of a path is called like it. A module called again gets "_2", a node without parameters its op and a
  // number; both pass over names that are taken.
  void name_nodes() {
    std::unordered_set<std::string> taken;
    for (const graph::Node& n : graph_.nodes) taken.insert(n.name);
    std::unordered_map<std::string, int> count;
    for (graph::Node& n : graph_.nodes) {
      const std::string base = n.name.empty() ? n.op->name : n.name;
      if (const int number = ++count[base]; n.name.empty() || number > 1) {
        n.name = message(base, '_', number);
        while (!taken.insert(n.name).second) n.name = message(base, '_', ++count[base]);
      }
      graph_.values[size_t(n.output)].name = n.name;
    }
  }

  struct Seen {
    int value;
    uint64_t version;  // of the storage
    Tensor alive;      // so that no id is given to a second tensor
  };

  Graph graph_;
  std::vector<TensorInfo> grown_;  // each value for three times the batch
  std::unordered_map<const void*, Seen> seen_;
  std::unordered_set<const Storage*> activations_;
  int64_t batch_ = 0;
  int unnamed_ = 0;
};

}  // namespace

Graph trace(const std::function<std::vector<Tensor>(std::span<const Tensor>)>& fn, std::span<const Tensor> examples) {
  const NoGradGuard no_grad;
  // Handles of their own: one tensor may be two examples, and what `fn` holds of it besides is no input.
  std::vector<Tensor> inputs;
  for (const Tensor& t : examples) inputs.push_back(t ? t.detach() : t);
  GraphTracer tracer(inputs);
  std::vector<Tensor> results;
  {
    const TracerGuard guard(tracer);
    results = fn(inputs);
  }
  return tracer.finish(results);
}

}  // namespace mininn::nn
