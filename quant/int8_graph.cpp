#include "quant/int8_graph.h"

#include <string>
#include <utility>

#include "ops/layout.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/requantize.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph, nn::graph::kAbsent;

class Builder {
 public:
  explicit Builder(const Int8Model& m) : m_(m) {}

  Int8Graph build() {
    out_.values.resize(m_.values.size(), kAbsent);
    add_input();
    for (const Int8Step& s : m_.steps) {
      step_ = &s;
      const int y = std::visit(*this, s.body);
      out_.values[size_t(s.output)] = y;
    }
    add_output();
    return std::move(out_);
  }

  int operator()(const Int8Conv& c) {
    QConv2dOptions o{c.options, codes() ? y().q : QParams{0, 0}, c.lo, c.hi};
    const int residual = step_->inputs.size() == 2 ? in(1) : kAbsent;
    return node(opdef::qconv2d,
                {in(0), constant("weight", c.weight), constant("weight_scale", c.weight_scale),
                 constant("bias", c.bias), residual},
                to_attrs(o));
  }
  int operator()(const Int8Linear& l) {
    const Int8Value& x = value(0);
    const int vector =
        node(opdef::qlinear,
             {in(0), constant("weight", l.weight), constant("weight_scale", l.weight_scale), constant("bias", l.bias)},
             to_attrs(QLinearOptions{x.h * x.w}));
    return reshaped(vector, {-1, y().c, 1, 1});
  }
  int operator()(const Int8MaxPool& p) {
    return node(codes() ? opdef::qmax_pool2d : opdef::real_max_pool2d, {in(0)}, to_attrs(p.window));
  }
  int operator()(const Int8AvgPool& p) {
    return codes()
               ? node(opdef::qavg_pool2d, {in(0)}, to_attrs(QAvgPool2dOptions{p.window, p.count_include_pad, y().q}))
               : node(opdef::real_avg_pool2d, {in(0)}, to_attrs(RealAvgPool2dOptions{p.window, p.count_include_pad}));
  }
  int operator()(const Int8GlobalSum&) { return node(opdef::qglobal_sum, {in(0)}); }
  int operator()(const Int8Lut& l) { return node(opdef::qlut, {in(0), constant("table", l.table)}, to_attrs(y().q)); }
  int operator()(const Int8Add& a) {
    return codes() ? node(opdef::qadd, {in(0), in(1)}, to_attrs(QResult{y().q, a.lo, a.hi}))
                   : node(opdef::real_add, {in(0), in(1)});
  }
  int operator()(const Int8Mul& m) { return node(opdef::qmul, {in(0), in(1)}, to_attrs(QResult{y().q, m.lo, m.hi})); }
  int operator()(const Int8Cat&) {
    std::vector<int> inputs;
    for (size_t i = 0; i < step_->inputs.size(); ++i) inputs.push_back(in(i));
    return node(opdef::qcat, std::move(inputs), to_attrs(y().q));
  }
  int operator()(const RealUnary& u) {
    return node(*opdef::real_unary(u.op), {in(0)}, to_attrs(RealUnaryOptions{u.value}));
  }

 private:
  Graph& graph() { return out_.graph; }
  const Int8Value& value(size_t input) const { return m_.values[size_t(step_->inputs[input])]; }
  const Int8Value& y() const { return m_.values[size_t(step_->output)]; }
  bool codes() const { return y().kind == Int8Value::Kind::codes; }
  int in(size_t i) const { return out_.values[size_t(step_->inputs[i])]; }
  int constant(const char* what, const Tensor& t) { return graph().add_constant(step_->name + "." + what, t); }

  // The step's own node.
  int node(const OpDef& op, std::vector<int> inputs, Attrs attrs = {}) {
    out_.nodes.push_back(int(graph().nodes.size()));
    return graph().add_node(op, step_->name, std::move(inputs), std::move(attrs));
  }
  // Nodes around the steps, whose names no step has.
  int other(const OpDef& op, int x, Attrs attrs = {}) {
    std::string name = op.name;
    const auto taken = [&] {
      for (const Int8Step& s : m_.steps)
        if (s.name == name) return true;
      for (const auto& n : graph().nodes)
        if (n.name == name) return true;
      return false;
    };
    for (int number = 2; taken(); ++number) name = message(op.name, '_', number);
    return graph().add_node(op, name, {x}, std::move(attrs));
  }
  int reshaped(int x, const Shape& shape) { return other(opdef::reshape, x, to_attrs(ShapeOptions{shape})); }

  void add_input() {
    const Int8Value& v = m_.values[0];
    const DType dtype = m_.normalization ? DType::u8 : DType::f32;
    const Shape shape = m_.flat_input ? Shape{1, v.c} : v.shape(1);
    int x = graph().add_value({.name = v.name, .shape = shape, .dtype = dtype, .constant = {}});
    graph().inputs = {x};
    if (m_.flat_input) x = reshaped(x, {-1, v.c, 1, 1});
    out_.values[0] = m_.normalization ? other(opdef::qpack, x) : other(opdef::quantize, x, to_attrs(v.q));
  }
  void add_output() {
    const Int8Value& v = m_.values[size_t(m_.output)];
    int y = out_.values[size_t(m_.output)];
    if (v.kind == Int8Value::Kind::codes) y = other(opdef::dequantize, y);
    if (m_.flat_output) y = reshaped(y, {-1, v.c});
    graph().outputs = {y};
  }

  const Int8Model& m_;
  const Int8Step* step_ = nullptr;
  Int8Graph out_;
};

}  // namespace

Int8Graph to_graph(const Int8Model& m) { return Builder(m).build(); }

}  // namespace mininn::quant
