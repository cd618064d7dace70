#include "quant/lower.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/qreal.h"
#include "ops/reduce.h"
#include "quant/grid/affine.h"
#include "quant/weights/layer_codes.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph, nn::graph::kAbsent, nn::graph::Node;

[[noreturn]] void unsupported(const Node& n, const std::string& why = {}) {
  throw KernelError(message("cannot quantize op ", n.op->name, " at node ", n.name, why.empty() ? "" : ": ", why));
}

// The activation function behind a step, as a clamp of its output's codes.
struct Activation {
  int output;          // the value behind it
  const char* suffix;  // for the step's op name
  bool relu = false;
  bool bounded = false;  // at 6
};

class Lowering {
 public:
  Lowering(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options)
      : g_(g),
        ranges_(ranges),
        options_(options),
        uses_(nn::graph::use_counts(g)),
        real_(g.values.size(), false),
        value_of_(g.values.size(), kAbsent),
        done_(g.nodes.size(), false) {}

  Lowered run() {
    if (g_.inputs.size() != 1 || g_.outputs.size() != 1)
      throw KernelError(message("cannot quantize a graph with ", g_.inputs.size(), " inputs and ", g_.outputs.size(),
                                " outputs: one of each is needed"));
    if (ranges_.size() != g_.values.size())
      throw ValueError(message("lower: ", ranges_.size(), " ranges for ", g_.values.size(), " values"));
    add_input();
    find_real_values();
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (!done_[i]) lower_node(g_.nodes[i]);
    const int out = g_.outputs[0];
    if (out_.model.steps.empty()) throw KernelError("cannot quantize a graph that computes nothing");
    out_.model.output = value_of_[size_t(out)];
    const Int8Value& v = out_.model.values[size_t(out_.model.output)];
    const Shape& shape = g_.values[size_t(out)].shape;
    out_.model.flat_output = shape.rank() == 2;
    if (shape.rank() == 2 && v.h * v.w != 1)
      throw KernelError(message("cannot quantize a graph whose result, ", g_.values[size_t(out)].name, ' ', shape,
                                ", is a flattened map"));
    out_.model.validate();
    return std::move(out_);
  }

 private:
  void add_input() {
    const nn::graph::Value& v = g_.values[size_t(g_.inputs[0])];
    if (v.dtype != DType::f32 || (v.shape.rank() != 2 && v.shape.rank() != 4))
      throw KernelError(
          message("cannot quantize an input ", name(v.dtype), v.shape, ": f32 [N,C] or [N,C,H,W] is needed"));
    if (options_.input) {
      if (v.shape.rank() != 4)
        throw KernelError(
            message("cannot quantize an input ", v.shape, " with an ImageNormalization: no image [N,C,H,W]"));
      options_.input->check(v.shape[1]);
    }
    out_.model.flat_input = v.shape.rank() == 2;
    out_.model.normalization = options_.input;
    add_codes(g_.inputs[0]);
    if (options_.input) out_.model.values[0].q = {};
  }

  // Values from which nothing but elementwise ops, sums, pooling and reshapes leads to the result stay real numbers: a
  // result is never quantized.
  void find_real_values() {
    std::vector<int> real_uses(uses_.size(), 0);
    ++real_uses[size_t(g_.outputs[0])];
    for (auto n = g_.nodes.rbegin(); n != g_.nodes.rend(); ++n) {
      const auto y = size_t(n->output);
      real_[y] = real_uses[y] == uses_[y];
      if (!real_[y] || n->is(opdef::conv2d_fused) || n->is(opdef::linear) || n->is(opdef::functor<op::Mul>) ||
          n->is(opdef::cat))
        continue;
      for (const int id : n->inputs)
        if (id != kAbsent) ++real_uses[size_t(id)];
    }
  }
  bool is_real(int id) const { return real_[size_t(id)]; }

  // A value of codes for graph value `id`, on the grid of its observed range.
  int add_codes(int id) { return add_value(id, Int8Value::Kind::codes, affine_u8(range(id).lo, range(id).hi)); }
  // One of codes, or of real numbers where they stay such.
  int add_result(int id) { return is_real(id) ? add_value(id, Int8Value::Kind::real, {}) : add_codes(id); }
  // The same with the sizes of `like`: those of a flattened map are what they were.
  int add_result(int id, Int8Value like) {
    const int y = add_result(id);
    Int8Value& v = out_.model.values[size_t(y)];
    v.c = like.c;
    v.h = like.h;
    v.w = like.w;
    return y;
  }

  int add_value(int id, Int8Value::Kind kind, const QParams& q) {
    const nn::graph::Value& v = g_.values[size_t(id)];
    Int8Value out{v.name, kind, v.shape.rank() > 1 ? v.shape[1] : 1, 1, 1, q};
    if (v.shape.rank() == 4) {
      out.h = v.shape[2];
      out.w = v.shape[3];
    }
    out_.model.values.push_back(std::move(out));
    out_.source.push_back(id);
    return value_of_[size_t(id)] = int(out_.model.values.size()) - 1;
  }

  const Range& range(int id) const { return ranges_[size_t(id)]; }

  const Node* only_consumer(int id) const {
    if (uses_[size_t(id)] != 1) return nullptr;
    for (const Node& n : g_.nodes)
      if (std::find(n.inputs.begin(), n.inputs.end(), id) != n.inputs.end()) return &n;
    return nullptr;
  }
  void mark_done(const Node& n) { done_[size_t(&n - g_.nodes.data())] = true; }

  // Takes a relu or relu6 that alone reads value `id` into the step that makes it. Real numbers have no codes to clamp.
  Activation absorb_activation(int id) {
    if (is_real(id)) return {id, ""};
    const Node* next = only_consumer(id);
    if (!next || (!next->is(opdef::functor<op::Relu>) && !next->is(opdef::functor<op::Relu6>))) return {id, ""};
    mark_done(*next);
    const bool six = next->is(opdef::functor<op::Relu6>);
    return {next->output, six ? "+relu6" : "+relu", true, six};
  }

  static void set_clamp(const Activation& a, const QParams& q, int32_t& lo, int32_t& hi) {
    if (a.relu) lo = q.zero_point;
    if (a.bounded) hi = int32_t(std::clamp(std::nearbyint(6 / double(q.scale)) + q.zero_point, double(lo), 255.0));
  }

  // The value behind a node's input, or an error that names the node.
  int value_at(const Node& n, size_t input) {
    if (input >= n.inputs.size() || n.inputs[input] == kAbsent || value_of_[size_t(n.inputs[input])] == kAbsent)
      unsupported(n, message("input ", input, " is a constant or missing"));
    return value_of_[size_t(n.inputs[input])];
  }
  // The same for ops that only a convolution may precede when the input is a raw image.
  int number_at(const Node& n, size_t input) {
    const int id = value_at(n, input);
    if (id == 0 && options_.input)
      unsupported(n, "with an ImageNormalization the image may only go into convolutions and linear layers");
    return id;
  }

  void add_step(std::string name, std::string op, std::vector<int> inputs, int output, auto body) {
    Int8Step s;
    s.name = std::move(name);
    s.op = std::move(op);
    s.inputs = std::move(inputs);
    s.output = output;
    s.body = std::move(body);
    out_.model.steps.push_back(std::move(s));
  }

  void lower_node(const Node& n) {
    if (n.is(opdef::conv2d_fused)) return lower_conv(n);
    if (n.is(opdef::linear)) return lower_linear(n);
    if (n.is(opdef::functor<op::Add>)) return lower_add(n);
    if (n.is(opdef::functor<op::Mul>)) return lower_mul(n);
    if (n.is(opdef::cat)) return lower_cat(n);
    if (n.is(opdef::max_pool2d)) return lower_max_pool(n);
    if (is_global_average(n)) return lower_global_average(n);
    if (n.is(opdef::avg_pool2d)) return lower_average_pool(n);
    if (n.is(opdef::flatten) || n.is(opdef::reshape)) return lower_reshape(n);
    if (!lower_elementwise(n)) unsupported(n);
  }

  static double largest(auto first, auto last) {
    return std::accumulate(first, last, 0.0, [](double top, double v) { return std::max(top, std::abs(v)); });
  }

  // Of a layer of so many outputs; zeros if it has none.
  std::vector<double> bias(const Node& n, int64_t outputs) const {
    if (n.inputs[2] == kAbsent) return std::vector<double>(size_t(outputs), 0.0);
    if (const Shape& shape = g_.values[size_t(n.inputs[2])].shape; shape != Shape{outputs})
      throw ShapeError(message("quantizing ", n.name, ": a bias ", shape, " for ", outputs, " outputs"));
    return constant(n, 2);
  }

  std::vector<double> constant(const Node& n, size_t input) const {
    if (!g_.is_constant(n.inputs[input])) unsupported(n, message("input ", input, " is no constant"));
    std::vector<double> v = g_.values[size_t(n.inputs[input])].constant.to_vector();
    for (const double d : v)
      if (!std::isfinite(d))
        throw ValueError(message("quantizing ", n.name, ": its bias or weight holds NaN or infinite values"));
    return v;
  }

  // --- ops ---

  void lower_conv(const Node& n) {
    const int x = value_at(n, 0);
    if (!g_.is_constant(n.inputs[1])) unsupported(n, "its weight is no constant");
    const nn::graph::Value& weight = g_.values[size_t(n.inputs[1])];
    const auto [options, relu] = n.options<Conv2dFusedOptions>();
    std::vector<int> inputs{x};
    const bool residual = n.inputs[3] != kAbsent;
    if (residual) inputs.push_back(number_at(n, 3));
    emit_conv(n, {options, {}, {}, {}}, constant(n, 1), weight.shape, bias(n, weight.shape[0]), std::move(inputs), relu,
              message("conv2d", residual ? "+add" : ""));
  }

  void lower_linear(const Node& n) {
    const int x = value_at(n, 0);
    const Int8Value& in = out_.model.values[size_t(x)];
    const Shape& w = g_.values[size_t(n.inputs[1])].shape;
    // A linear layer on a flattened map is a convolution whose kernel covers the map: [O, C*H*W] is [O,C,H,W].
    if (g_.values[size_t(n.inputs[0])].shape.rank() != 2 || w.rank() != 2 || w[1] != in.c * in.h * in.w)
      unsupported(n, "its input is no flattened activation");
    emit_conv(n, {}, constant(n, 1), {w[0], in.c, in.h, in.w}, bias(n, w[0]), {x}, false, "linear");
  }

  void emit_conv(const Node& n, Int8Conv conv, std::vector<double> w, const Shape& shape, const std::vector<double>& b,
                 std::vector<int> inputs, bool relu, std::string op) {
    const bool real = is_real(n.output);
    Activation act = relu && !real ? Activation{n.output, "+relu", true} : absorb_activation(n.output);
    const Int8Value& x = out_.model.values[size_t(inputs[0])];
    const Conv2dGeometry g = Conv2dGeometry::make(n.name.c_str(), x.shape(1), shape, conv.options);
    const bool image = inputs[0] == 0 && options_.input;
    try {
      const LayerCodes codes = quantize_layer(n.name, std::move(w), shape, b, double(x.q.scale), g,
                                              image ? &*options_.input : nullptr, options_.per_channel, options_.round);
      conv.weight = codes.weight;
      conv.weight_scale = codes.scale;
      conv.bias = codes.bias;
    } catch (const ValueError& e) {
      throw ValueError(message("quantizing ", n.name, ": ", e.what()));
    } catch (const KernelError& e) {
      unsupported(n, e.what());
    }
    const int y = add_result(act.output);
    set_clamp(act, out_.model.values[size_t(y)].q, conv.lo, conv.hi);
    out_.model.graph_macs += g.macs();
    add_step(n.name, op + act.suffix, std::move(inputs), y, std::move(conv));
    if (real && relu) {
      out_.model.values[size_t(y)].name += ".sum";
      out_.source[size_t(y)] = kAbsent;
      add_step(unused_name(n.name + ".relu"), "relu", {y}, add_value(n.output, Int8Value::Kind::real, {}),
               RealUnary{"relu"});
    }
  }

  // `name`, with a number behind it if a node is called so.
  std::string unused_name(const std::string& name) const {
    std::string unused = name;
    const auto taken = [&] {
      return std::any_of(g_.nodes.begin(), g_.nodes.end(), [&](const Node& n) { return n.name == unused; });
    };
    for (int number = 2; taken(); ++number) unused = message(name, '_', number);
    return unused;
  }

  void lower_add(const Node& n) {
    const int a = number_at(n, 0), b = number_at(n, 1);
    const auto& shape = [&](size_t i) { return g_.values[size_t(n.inputs[i])].shape; };
    if (shape(0) != shape(1)) unsupported(n, message("it broadcasts ", shape(0), " and ", shape(1)));
    const Int8Value &left = out_.model.values[size_t(a)], &right = out_.model.values[size_t(b)];
    if (left.c != right.c || left.h != right.h || left.w != right.w)
      unsupported(n, "it adds a flattened map and another vector, which lie in memory in different orders");
    const Activation act = absorb_activation(n.output);
    const int y = add_result(act.output, left);
    Int8Add add;
    set_clamp(act, out_.model.values[size_t(y)].q, add.lo, add.hi);
    add_step(n.name, message("add", act.suffix), {a, b}, y, add);
  }

  // A product of maps, or of a map and a gate: one number for each of its channels.
  void lower_mul(const Node& n) {
    refuse_result(n);
    int a = number_at(n, 0), b = number_at(n, 1);
    const auto& values = out_.model.values;
    const auto shape = [&](size_t i) { return g_.values[size_t(n.inputs[i])].shape; };
    if (shape(0) != shape(1) && values[size_t(a)].h * values[size_t(a)].w == 1) std::swap(a, b);
    const Int8Value map = values[size_t(a)], other = values[size_t(b)];
    const bool gate = shape(0).rank() == 4 && shape(1).rank() == 4 && other.h == 1 && other.w == 1;
    if (map.c != other.c || (!gate && (shape(0) != shape(1) || map.h != other.h || map.w != other.w)))
      unsupported(n, message("it multiplies ", shape(0), " and ", shape(1)));
    const Activation act = absorb_activation(n.output);
    const int y = add_result(act.output, map);
    Int8Mul mul;
    set_clamp(act, values[size_t(y)].q, mul.lo, mul.hi);
    add_step(n.name, message("mul", act.suffix), {a, b}, y, mul);
  }

  void lower_cat(const Node& n) {
    refuse_result(n);
    const int rank = g_.values[size_t(n.output)].shape.rank(), dim = n.options<DimOptions>().dim;
    if (rank < 2 || (dim != 1 && dim != 1 - rank)) unsupported(n, message("along dimension ", dim));
    std::vector<int> inputs;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      inputs.push_back(number_at(n, i));
      const Int8Value& v = out_.model.values[size_t(inputs.back())];
      if (rank == 2 && v.h * v.w != 1) unsupported(n, "it joins flattened maps");
    }
    add_step(n.name, "cat", std::move(inputs), add_codes(n.output), Int8Cat());
  }

  // Of ops that make codes: a result is never quantized.
  void refuse_result(const Node& n) const {
    if (is_real(n.output)) unsupported(n, "no layer comes between it and the result, which is not quantized");
  }

  void lower_max_pool(const Node& n) {
    const int x = number_at(n, 0);
    const QParams q = out_.model.values[size_t(x)].q;  // kept: pooling makes no new codes
    const int y = is_real(n.output) ? add_result(n.output) : add_value(n.output, Int8Value::Kind::codes, q);
    const auto o = n.options<Pool2dOptions>();
    add_step(n.name, "max_pool2d", {x}, y, Int8MaxPool{{o.kernel, o.stride, o.padding}});
  }

  void lower_average_pool(const Node& n) {
    const auto [o, count_include_pad] = n.options<AvgPool2dOptions>();
    add_step(n.name, "avg_pool2d", {number_at(n, 0)}, add_result(n.output),
             Int8AvgPool{{o.kernel, o.stride, o.padding}, count_include_pad});
  }

  // A mean over the whole map, however it was written.
  bool is_global_average(const Node& n) const {
    if (n.is(opdef::global_avg_pool2d)) return true;
    if (n.inputs.empty() || n.inputs[0] == kAbsent) return false;
    const Shape& in = g_.values[size_t(n.inputs[0])].shape;
    if (in.rank() != 4) return false;
    if (n.is(opdef::avg_pool2d)) {
      const auto [kernel, stride, padding] = n.options<AvgPool2dOptions>().window;
      return kernel == Hw(in[2], in[3]) && padding == Hw(0);
    }
    if (!n.is(opdef::mean)) return false;
    std::vector<int> dims = n.options<ReduceOptions>().dims;
    for (int& d : dims) d += d < 0 ? 4 : 0;
    std::sort(dims.begin(), dims.end());
    return dims == std::vector<int>{2, 3};
  }

  void lower_global_average(const Node& n) {
    const int x = number_at(n, 0);
    if (const Node* fc = final_linear(n); fc && lower_sum_and_linear(n, *fc, x)) return;
    const Int8Value& in = out_.model.values[size_t(x)];
    const QPoolWindow whole{{in.h, in.w}, {in.h, in.w}, 0};
    add_step(n.name, "global_avg_pool2d", {x}, add_result(n.output), Int8AvgPool{whole, true});
  }

  // The linear layer right behind a global average whose result stays real, or null.
  const Node* final_linear(const Node& pool) const {
    const Node* next = only_consumer(pool.output);
    while (next && (next->is(opdef::flatten) || next->is(opdef::reshape))) next = only_consumer(next->output);
    return next && next->is(opdef::linear) && is_real(next->output) ? next : nullptr;
  }

  // Exact: no rounding between the map and the logits. False where the sums of large maps would leave no room in an
  // int32 for weights that are about as fine as those behind a rounded average.
  bool lower_sum_and_linear(const Node& pool, const Node& fc, int x) {
    const Int8Value in = out_.model.values[size_t(x)];
    const Shape& shape = g_.values[size_t(fc.inputs[1])].shape;
    if (shape.rank() != 2 || shape[1] != in.c) return false;
    const int64_t pixels = in.h * in.w, outputs = shape[0];
    const double unit = double(in.q.scale) / double(pixels);
    const std::vector<double> b = bias(fc, outputs), w = constant(fc, 1);
    std::vector<double> least;
    for (int64_t o = 0; o < outputs; ++o) {
      least.push_back(std::abs(b[size_t(o)]) / (unit * kMostBias));
      const auto first = w.begin() + (options_.per_channel ? o * in.c : 0);
      const double top = largest(first, options_.per_channel ? first + in.c : w.end());
      if (top > 0 && least.back() > top / 64) return false;
    }
    const QWeights q = quantize_weights(fc.name, w, shape, least, options_.per_channel, options_.round);

    Int8Linear linear{q.codes, Tensor::from(std::vector<float>(q.scale.begin(), q.scale.end()), {outputs}),
                      Tensor::empty({outputs}, DType::i32)};
    const auto codes = q.codes.data<int8_t>();
    const auto bias = linear.bias.mutable_data<int32_t>();
    for (int64_t o = 0; o < outputs; ++o) {
      const auto row = codes.subspan(size_t(o * in.c), size_t(in.c));
      const auto sum = std::accumulate(row.begin(), row.end(), int64_t{0});
      const auto size =
          std::accumulate(row.begin(), row.end(), int64_t{0}, [](int64_t s, int8_t v) { return s + std::abs(int{v}); });
      const double units = std::nearbyint(b[size_t(o)] / (unit * q.scale[size_t(o)])) -
                           double(in.q.zero_point) * double(pixels) * double(sum);
      if (255.0 * double(pixels) * double(size) + std::abs(units) >= 2147483648.0) return false;
      bias[size_t(o)] = int32_t(units);
    }
    Int8Value sums = in;
    sums.name = pool.name;
    sums.kind = Int8Value::Kind::sums;
    out_.model.values.push_back(std::move(sums));
    out_.source.push_back(pool.output);
    const int sum_id = int(out_.model.values.size()) - 1;
    add_step(pool.name, "global_sum", {x}, sum_id, Int8GlobalSum{});
    add_step(fc.name, "linear", {sum_id}, add_value(fc.output, Int8Value::Kind::real, {}), std::move(linear));
    out_.model.graph_macs += outputs * in.c;
    for (const Node* n = &pool; n != &fc;) {
      n = only_consumer(n->output);
      mark_done(*n);
    }
    return true;
  }

  // Reshapes that leave every element where it is in [N,C,H,W] order and only rename the shape.
  void lower_reshape(const Node& n) {
    const int x = value_at(n, 0);
    const Shape &before = g_.values[size_t(n.inputs[0])].shape, &after = g_.values[size_t(n.output)].shape;
    const Int8Value& v = out_.model.values[size_t(x)];
    const bool flat = after.rank() == 2 && after[1] == v.c * v.h * v.w;
    const bool same = after.rank() == 4 && after[1] == v.c && after[2] == v.h && after[3] == v.w;
    if (after[0] != before[0] || (!flat && !same)) unsupported(n, message("from ", before, " to ", after));
    value_of_[size_t(n.output)] = x;
  }

  bool lower_elementwise(const Node& n) {
    const RealFunction f = real_function(n.op->name);
    if (!f) return false;
    const double number = n.attrs.empty() ? 0 : n.options<ScalarOptions>().value;
    const int x = number_at(n, 0), y = add_result(n.output, out_.model.values[size_t(x)]);
    if (is_real(n.output)) {
      add_step(n.name, n.op->name, {x}, y, RealUnary{n.op->name, number});
      return true;
    }
    const QParams in = out_.model.values[size_t(x)].q, out = out_.model.values[size_t(y)].q;
    Int8Lut lut{Tensor::empty({256}, DType::u8)};
    const auto table = lut.table.mutable_data<uint8_t>();
    for (int code = 0; code < 256; ++code) {
      const double v = f(double(in.scale) * (code - in.zero_point), number);
      const double q = std::nearbyint(v / double(out.scale)) + out.zero_point;
      table[size_t(code)] = std::isnan(q) ? uint8_t(out.zero_point) : uint8_t(std::clamp(q, 0.0, 255.0));
    }
    add_step(n.name, n.op->name, {x}, y, std::move(lut));
    return true;
  }

  const Graph& g_;
  const std::vector<Range>& ranges_;
  const LowerOptions& options_;
  const std::vector<int> uses_;
  std::vector<bool> real_;     // graph values that stay real numbers
  std::vector<int> value_of_;  // of each graph value
  std::vector<bool> done_;     // nodes that an earlier step took in
  Lowered out_;
};

}  // namespace

Lowered lower(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options) {
  g.validate();
  if (!options.round) throw ValueError("lower: there is no rounder");
  return Lowering(g, ranges, options).run();
}

}  // namespace mininn::quant
