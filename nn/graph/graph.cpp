#include "nn/graph/graph.h"

#include <algorithm>
#include <ostream>
#include <unordered_set>

#include "ops/layout.h"

namespace mininn::nn::graph {
namespace {

std::string text(const AttrValue& v) {
  if (const auto* i = std::get_if<int64_t>(&v)) return message(*i);
  if (const auto* d = std::get_if<double>(&v)) return message(*d);
  std::string list;
  for (const int64_t i : std::get<std::vector<int64_t>>(v)) list += message(list.empty() ? "" : ",", i);
  return message('[', list, ']');
}

std::string value_text(const Graph& g, int id) {
  if (id == kAbsent) return "-";
  if (id < 0 || size_t(id) >= g.values.size()) return message('%', id, '?');
  const Value& v = g.values[size_t(id)];
  return v.constant ? message(v.name, ' ', name(v.dtype), v.shape) : message('%', id);
}

// The first size of the inputs: that of the traced example and that of a run.
struct Batch {
  int64_t traced = 1, now = 1;
  int kept = -1;  // for messages: an input whose first size is the traced one all the same
};

Batch batch_of(const Graph& g, std::span<const TensorInfo> inputs) {
  if (inputs.size() != g.inputs.size())
    throw ShapeError(message("run: the graph has ", g.inputs.size(), " inputs, not ", inputs.size()));
  Batch b;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& v = g.values[size_t(g.inputs[i])];
    const TensorInfo& t = inputs[i];
    bool fits = t.dtype == v.dtype && t.shape.rank() == v.shape.rank();
    for (int d = 1; fits && d < v.shape.rank(); ++d) fits = t.shape[d] == v.shape[d];
    if (!fits)
      throw ShapeError(message("run: input ", i, " (", v.name, ") must look like ", name(v.dtype), v.shape,
                               " with any first size, not ", name(t.dtype), t.shape));
    if (t.shape == v.shape) {
      if (t.shape.rank() > 0) b.kept = int(i);
      continue;
    }
    if (b.now != b.traced && checked_mul("run", b.now, v.shape[0]) != checked_mul("run", b.traced, t.shape[0]))
      throw ShapeError(message("run: one input has ", b.now, " rows instead of ", b.traced, ", another ", t.shape[0],
                               " instead of ", v.shape[0]));
    b.traced = v.shape[0];
    b.now = t.shape[0];
  }
  return b;
}

// How many indices the dimensions before the first one that has grown have together.
int64_t rows_before_growth(const Shape& before, const Shape& now) {
  int64_t rows = 1;
  for (int d = 0; d < now.rank() && d < before.rank() && now[d] == before[d]; ++d) rows *= now[d];
  return rows;
}

// Throws unless the result of a node is right for another batch than the traced one. Most ops have no sizes of their
// own; in those that have, and in constants, the traced batch may be hidden.
void check_growth(const Graph& g, const Node& n, const Batch& b, const std::vector<TensorInfo>& now) {
  bool grows = n.op->sizes == Sizes::options && !n.is(opdef::reshape);  // which moves no element of what is as it was
  for (const int id : n.inputs) grows = grows || (id != kAbsent && now[size_t(id)].shape != g.values[size_t(id)].shape);
  if (!grows || n.op->sizes == Sizes::reduced) return;
  const Shape &before = g.values[size_t(n.output)].shape, &y = now[size_t(n.output)].shape;
  // Elements that stand before the batch, row by row, stand before it behind a reshape too.
  if (n.is(opdef::reshape)) {
    const size_t x = size_t(n.inputs[0]);
    if (rows_before_growth(g.values[x].shape, now[x].shape) != rows_before_growth(before, y))
      throw ShapeError(message("run: ", n.op->name, " at ", n.name, " gives ", y, " of ", now[x].shape, ", and ",
                               before, " of the ", g.values[x].shape, " it was traced with: the batch would move"));
  }
  int grown = 0;
  bool like_batch = y.rank() == before.rank();
  for (int d = 0; like_batch && d < y.rank(); ++d)
    if (y[d] != before[d]) {
      ++grown;
      like_batch = checked_mul("run", y[d], b.traced) == checked_mul("run", before[d], b.now);
    }
  if (like_batch && grown == 1) return;
  std::string kept;
  if (b.kept >= 0) {
    const Value& v = g.values[size_t(g.inputs[size_t(b.kept)])];
    kept = message("; input ", b.kept, " (", v.name, ") has ", v.shape[0], " rows, as then");
  }
  throw ShapeError(message("run: ", n.op->name, " at ", n.name, " gives ", y, " for ", b.now, " rows and ", before,
                           " for the ", b.traced, " it was traced with: it does not grow with the batch", kept));
}

// "%3 f32[1,8]", also of a graph that breaks the rules: this is how one looks at it.
std::string declared(const Graph& g, int id) {
  if (id < 0 || size_t(id) >= g.values.size()) return message('%', id, '?');
  return message('%', id, ' ', name(g.values[size_t(id)].dtype), g.values[size_t(id)].shape);
}

}  // namespace

std::string Node::at(const Error& e) const {
  return message("node ", name, " (", op ? op->name : "?", "): ", e.what());
}

int Graph::add_value(Value v) {
  values.push_back(std::move(v));
  return int(values.size()) - 1;
}

int Graph::add_constant(std::string name, const Tensor& t) {
  return add_value(
      {.name = std::move(name), .shape = t.shape(), .dtype = t.dtype(), .constant = t, .qparams = t.qparams()});
}

int Graph::add_node(const OpDef& op, std::string name, std::vector<int> of, Attrs attrs) {
  std::vector<TensorInfo> in;
  for (const int id : of) in.push_back(info(id));
  const TensorInfo y = op.infer(in, attrs);
  const int id = add_value({.name = name, .shape = y.shape, .dtype = y.dtype, .constant = {}, .qparams = y.qparams});
  nodes.push_back({&op, std::move(name), std::move(of), id, std::move(attrs)});
  return id;
}

TensorInfo Graph::info(int id) const {
  if (id == kAbsent) return TensorInfo::none();
  const Value& v = values[size_t(id)];
  return {v.shape, v.dtype, v.qparams};
}

void Graph::freeze() {
  for (Value& v : values) v.constant = v.constant.frozen();
}

void Graph::to(Device device) {
  for (Value& v : values)
    if (v.constant) v.constant = v.constant.to(device);
}

void Graph::validate() const {
  const auto fail = [](const auto&... parts) { throw ValueError(message("graph: ", parts...)); };
  const auto in_range = [&](int id) { return id >= 0 && size_t(id) < values.size(); };
  std::vector<bool> made(values.size(), false);
  for (size_t i = 0; i < values.size(); ++i)
    if (const Value& v = values[i]; v.constant) {
      if (v.constant.shape() != v.shape || v.constant.dtype() != v.dtype)
        fail("constant ", v.name, " is declared ", mininn::name(v.dtype), v.shape, " but holds ",
             mininn::name(v.constant.dtype()), v.constant.shape());
      made[i] = true;
    }
  for (const int id : inputs) {
    if (!in_range(id)) fail("input refers to value ", id, " of ", values.size());
    if (made[size_t(id)]) fail("input ", values[size_t(id)].name, " is a constant or listed twice");
    made[size_t(id)] = true;
  }
  std::unordered_set<std::string_view> names;
  for (const Node& n : nodes) {
    if (!names.insert(n.name).second) fail("two nodes are called ", n.name);
    if (!n.op) fail("node ", n.name, " has no op");
    const char* const op = n.op->name;
    const OpInputs& takes = n.op->inputs;
    if (n.inputs.size() < takes.least || n.inputs.size() > takes.most)
      fail("node ", n.name, " (", op, ") has ", n.inputs.size(), " inputs, not ", takes.least,
           takes.most > takes.least ? " or more" : "");
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      const int id = n.inputs[i];
      if (id == kAbsent) {
        if (!takes.may_lack(i)) fail("node ", n.name, " (", op, ") lacks its input ", i);
        continue;
      }
      if (!in_range(id)) fail("node ", n.name, " refers to value ", id, " of ", values.size());
      if (!made[size_t(id)]) fail("node ", n.name, " (", op, ") reads value ", id, " before anything makes it");
    }
    try {
      n.op->check(n.attrs);
    } catch (const ValueError& e) {
      fail(n.at(e));
    }
    if (!in_range(n.output)) fail("node ", n.name, " refers to value ", n.output, " of ", values.size());
    if (made[size_t(n.output)]) fail("node ", n.name, " (", op, ") makes value ", n.output, ", which exists already");
    made[size_t(n.output)] = true;
  }
  for (const int id : outputs)
    if (!in_range(id) || !made[size_t(id)]) fail("output refers to value ", id, ", which nothing makes");
}

std::vector<int> producers(const Graph& g) {
  std::vector<int> by(g.values.size(), kAbsent);
  for (size_t i = 0; i < g.nodes.size(); ++i) by[size_t(g.nodes[i].output)] = int(i);
  return by;
}

std::vector<int> use_counts(const Graph& g) {
  std::vector<int> uses(g.values.size(), 0);
  for (const Node& n : g.nodes)
    for (const int id : n.inputs)
      if (id != kAbsent) ++uses[size_t(id)];
  for (const int id : g.outputs) ++uses[size_t(id)];
  return uses;
}

int64_t traced_batch(const Graph& g) {
  if (g.inputs.empty()) return 0;
  const Shape& first = g.values[size_t(g.inputs[0])].shape;
  return first.rank() == 0 ? 0 : first[0];
}

std::vector<TensorInfo> batched_inputs(const Graph& g, int64_t batch) {
  const int64_t traced = traced_batch(g);
  std::vector<TensorInfo> inputs;
  for (const int id : g.inputs) {
    inputs.push_back(g.info(id));
    Shape& shape = inputs.back().shape;
    if (shape.rank() > 0 && shape[0] == traced) shape[0] = batch;
  }
  return inputs;
}

std::vector<TensorInfo> input_infos(const Node& n, std::span<const TensorInfo> values) {
  std::vector<TensorInfo> in;
  for (const int id : n.inputs) in.push_back(id == kAbsent ? TensorInfo::none() : values[size_t(id)]);
  return in;
}

std::vector<TensorInfo> infos(std::span<const Tensor> inputs) {
  std::vector<TensorInfo> out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) throw ShapeError(message("run: input ", i, " is undefined"));
    out.push_back(info_of(inputs[i]));
  }
  return out;
}

std::vector<TensorInfo> infer(const Graph& g, std::span<const TensorInfo> inputs) {
  const Batch batch = batch_of(g, inputs);
  std::vector<TensorInfo> now;
  for (size_t i = 0; i < g.values.size(); ++i) now.push_back(g.info(int(i)));
  if (batch.now == batch.traced) return now;
  for (size_t i = 0; i < inputs.size(); ++i) now[size_t(g.inputs[i])] = inputs[i];
  for (const Node& n : g.nodes) {
    try {
      now[size_t(n.output)] = n.op->infer(input_infos(n, now), n.attrs);
    } catch (const ShapeError& e) {
      throw ShapeError(n.at(e));
    }
    check_growth(g, n, batch, now);
  }
  return now;
}

std::string to_string(const Graph& g) {
  std::string out;
  for (const int id : g.inputs) out += message("input  ", declared(g, id), '\n');
  for (const Node& n : g.nodes) {
    out += message(declared(g, n.output), " = ", n.op ? n.op->name : "?", '(');
    for (size_t i = 0; i < n.inputs.size(); ++i) out += (i ? ", " : "") + value_text(g, n.inputs[i]);
    out += ')';
    for (size_t i = 0; i < n.attrs.size(); ++i)
      out += message(i ? ", " : " {", n.attrs[i].name, '=', text(n.attrs[i].value));
    out += message(n.attrs.empty() ? "  # " : "}  # ", n.name, '\n');
  }
  for (const int id : g.outputs) out += message("output %", id, '\n');
  return out;
}

std::ostream& operator<<(std::ostream& out, const Graph& g) { return out << to_string(g); }

}  // namespace mininn::nn::graph
