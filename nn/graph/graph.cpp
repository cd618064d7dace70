#include "nn/graph/graph.h"

#include <algorithm>
#include <ostream>
#include <unordered_set>

#include "nn/graph/executor.h"

namespace mininn::nn::graph {
namespace {

template <class T>
const T& get(const Node& n, std::string_view attr, const char* type) {
  const AttrValue* v = n.find(attr);
  if (!v) throw ValueError(message("node ", n.name, " (", n.op, ") has no attribute '", attr, "'"));
  const T* t = std::get_if<T>(v);
  if (!t) throw ValueError(message("node ", n.name, " (", n.op, "): attribute '", attr, "' is not ", type));
  return *t;
}

std::string text(const AttrValue& v) {
  if (const auto* i = std::get_if<int64_t>(&v)) return message(*i);
  if (const auto* d = std::get_if<double>(&v)) return message(*d);
  return message(Shape(std::span<const int64_t>(std::get<std::vector<int64_t>>(v))));
}

std::string value_text(const Graph& g, int id) {
  if (id == kAbsent) return "-";
  if (id < 0 || size_t(id) >= g.values.size()) return message('%', id, '?');
  const Value& v = g.values[size_t(id)];
  return v.constant ? message(v.name, ' ', name(v.dtype), v.shape) : message('%', id);
}

// "%3 f32[1,8]", also of a graph that breaks the rules: this is how one looks at it.
std::string declared(const Graph& g, int id) {
  if (id < 0 || size_t(id) >= g.values.size()) return message('%', id, '?');
  return message('%', id, ' ', name(g.values[size_t(id)].dtype), g.values[size_t(id)].shape);
}

}  // namespace

const AttrValue* Node::find(std::string_view attr) const {
  const auto it = std::find_if(attrs.begin(), attrs.end(), [&](const Attr& a) { return a.name == attr; });
  return it == attrs.end() ? nullptr : &it->value;
}

int64_t Node::integer(std::string_view attr) const { return get<int64_t>(*this, attr, "an integer"); }

double Node::number(std::string_view attr) const {
  const AttrValue* v = find(attr);
  if (v && std::holds_alternative<int64_t>(*v)) return double(std::get<int64_t>(*v));
  return get<double>(*this, attr, "a number");
}

const std::vector<int64_t>& Node::list(std::string_view attr) const {
  return get<std::vector<int64_t>>(*this, attr, "a list");
}

Hw Node::pair(std::string_view attr) const {
  const auto& l = list(attr);
  if (l.size() != 2) throw ValueError(message("node ", name, " (", op, "): attribute '", attr, "' is not {h, w}"));
  return {l[0], l[1]};
}

int Graph::add_value(Value v) {
  values.push_back(std::move(v));
  return int(values.size()) - 1;
}

int Graph::add_constant(std::string name, const Tensor& t) {
  return add_value({.name = std::move(name), .shape = t.shape(), .dtype = t.dtype(), .constant = t});
}

void Graph::freeze() {
  for (Value& v : values) v.constant = v.constant.frozen();
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
    const OpInputs* const op = inputs_of(n.op);
    if (op && (n.inputs.size() < op->least || n.inputs.size() > op->most))
      fail("node ", n.name, " (", n.op, ") has ", n.inputs.size(), " inputs, not ", op->least,
           op->most > op->least ? " or more" : "");
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      const int id = n.inputs[i];
      if (id == kAbsent) {
        if (op && std::ranges::find(op->optional, i) == op->optional.end())
          fail("node ", n.name, " (", n.op, ") lacks its input ", i);
        continue;
      }
      if (!in_range(id)) fail("node ", n.name, " refers to value ", id, " of ", values.size());
      if (!made[size_t(id)]) fail("node ", n.name, " (", n.op, ") reads value ", id, " before anything makes it");
    }
    if (!in_range(n.output)) fail("node ", n.name, " refers to value ", n.output, " of ", values.size());
    if (made[size_t(n.output)]) fail("node ", n.name, " (", n.op, ") makes value ", n.output, ", which exists already");
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

std::string to_string(const Graph& g) {
  std::string out;
  for (const int id : g.inputs) out += message("input  ", declared(g, id), '\n');
  for (const Node& n : g.nodes) {
    out += message(declared(g, n.output), " = ", n.op, '(');
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
