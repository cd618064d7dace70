#include "quant/lower.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/reduce.h"
#include "ops/requantize.h"
#include "quant/forms.h"
#include "quant/weights/layer_codes.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph, nn::graph::kAbsent, nn::graph::Node;

// Caught where a node is lowered: it then stays a float op, for this reason.
[[noreturn]] void unsupported(const std::string& why) { throw KernelError(why); }

// The activation function behind a node, as a clamp of its result's codes.
struct Activation {
  int output;                  // the value behind it
  const char* suffix;          // for the node's label
  const Node* node = nullptr;  // null: there is none, or the layer has it as an option
  bool relu = false;
  bool bounded = false;  // at 6

  // Of codes on grid q.
  QResult clamp(const QParams& q) const {
    QResult r{q};
    if (relu) r.lo = q.zero_point;
    if (bounded) r.hi = int32_t(std::clamp(std::nearbyint(6 / double(q.scale)) + q.zero_point, double(r.lo), 255.0));
    return r;
  }
};

// Nodes that stay float ops, and why.
using InFloat = std::map<const Node*, std::string>;

class Lowering {
 public:
  Lowering(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options, InFloat& in_float)
      : g_(g),
        options_(options),
        in_float_(in_float),
        uses_(nn::graph::use_counts(g)),
        real_(g.values.size(), false),
        done_(g.nodes.size(), false),
        out_(g, ranges, options.input) {}

  Lowered run() {
    find_real_values();
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (!done_[i]) lower_node(g_.nodes[i]);
    Lowered lowered{out_.finish(g_.outputs[0]), std::move(out_.source()), {}};
    lowered.observed = out_.ranges_used();
    for (size_t i = 0; i < lowered.model.layers.size(); ++i)
      if (const int id = lowered.source[size_t(lowered.model.graph.nodes[i].output)];
          id != kAbsent && lowered.model.layers[i].in_float.empty())
        lowered.observed[size_t(id)] = true;
    return lowered;
  }

 private:
  // Values from which nothing but elementwise ops, sums, pooling and reshapes leads to the result or to float ops stay
  // real numbers: a result is never quantized.
  void find_real_values() {
    std::vector<int> real_uses(uses_.size(), 0);
    ++real_uses[size_t(g_.outputs[0])];
    for (auto n = g_.nodes.rbegin(); n != g_.nodes.rend(); ++n) {
      const auto y = size_t(n->output);
      real_[y] = real_uses[y] == uses_[y];
      const bool passes_on = real_[y] && !n->is(opdef::conv2d_fused) && !n->is(opdef::linear);
      if (!passes_on && !in_float_.contains(&*n)) continue;
      for (const int id : n->inputs)
        if (id != kAbsent) ++real_uses[size_t(id)];
    }
  }
  bool is_real(int id) const { return real_[size_t(id)]; }

  const Node* only_consumer(int id) const {
    if (uses_[size_t(id)] != 1) return nullptr;
    for (const Node& n : g_.nodes)
      if (std::find(n.inputs.begin(), n.inputs.end(), id) != n.inputs.end()) return &n;
    return nullptr;
  }
  void mark_done(const Node* n) {
    if (n) done_[size_t(n - g_.nodes.data())] = true;
  }

  // The relu or relu6 that alone reads value `id`: the node that makes it takes it in, as a clamp of its codes.
  Activation activation_behind(int id) const {
    const Node* next = is_real(id) ? nullptr : only_consumer(id);
    if (!next || (!next->is(opdef::functor<op::Relu>) && !next->is(opdef::functor<op::Relu6>)) ||
        in_float_.contains(next))
      return {id, ""};
    const bool six = next->is(opdef::functor<op::Relu6>);
    return {next->output, six ? "+relu6" : "+relu", next, true, six};
  }

  const Shape& shape(int id) const { return g_.values[size_t(id)].shape; }
  const Shape& input_shape(const Node& n, size_t i) const { return shape(n.inputs[i]); }

  void lower_node(const Node& n) {
    if (!in_float_.contains(&n)) {
      try {
        return lower_int8(n);
      } catch (const KernelError& e) {
        in_float_[&n] = e.what();
      }
    }
    lower_float(n);
  }

  // Throws KernelError with the reason where the node stays a float op; it has added nothing then that others see.
  void lower_int8(const Node& n) {
    if (n.is(opdef::conv2d_fused)) return lower_conv(n);
    if (n.is(opdef::linear)) return lower_linear(n);
    // Between float ops the others stay such.
    const auto is_ours = [&](int id) { return id != kAbsent && out_.is_ours(id); };
    const bool reshapes = n.is(opdef::flatten) || n.is(opdef::reshape);
    if (std::none_of(n.inputs.begin(), n.inputs.end(), is_ours) && !(reshapes && out_.is_image(n.inputs[0])))
      unsupported("its operands are real numbers");
    if (n.is(opdef::functor<op::Add>)) return lower_add(n);
    if (n.is(opdef::functor<op::Mul>)) return lower_mul(n);
    if (n.is(opdef::cat)) return lower_cat(n);
    if (n.is(opdef::max_pool2d)) return lower_max_pool(n);
    if (is_global_average(n)) return lower_global_average(n);
    if (n.is(opdef::avg_pool2d)) return lower_average_pool(n);
    if (reshapes) return lower_reshape(n);
    if (!lower_elementwise(n)) unsupported("it has no int8 form");
  }

  void lower_float(const Node& n) {
    std::vector<int> in;
    for (const int id : n.inputs) in.push_back(id == kAbsent ? kAbsent : out_.real(id));
    out_.add_float(n.output, *n.op, n.name, std::move(in), n.attrs, in_float_.at(&n));
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
    if (!g_.is_constant(n.inputs[input])) unsupported(message("its input ", input, " is no constant"));
    std::vector<double> v = g_.values[size_t(n.inputs[input])].constant.to_vector();
    for (const double d : v)
      if (!std::isfinite(d))
        throw ValueError(message("quantizing ", n.name, ": its bias or weight holds NaN or infinite values"));
    return v;
  }

  // --- ops ---

  void lower_conv(const Node& n) {
    const auto [options, relu] = n.options<Conv2dFusedOptions>();
    const std::vector<double> w = constant(n, 1);
    const Shape& shape = input_shape(n, 1);
    const int x = out_.layer_input(n.inputs[0]), residual = n.inputs[3] == kAbsent ? kAbsent : out_.codes(n.inputs[3]);
    emit_conv(n, options, w, shape, bias(n, shape[0]), x, residual, relu,
              residual == kAbsent ? "conv2d" : "conv2d+add");
  }

  void lower_linear(const Node& n) {
    const std::vector<double> weights = constant(n, 1);
    const Shape& w = input_shape(n, 1);
    const int x = out_.layer_input(n.inputs[0]);
    // A linear layer on a flattened map is a convolution whose kernel covers the map: [O, C*H*W] is [O,C,H,W].
    const Shape& map = out_.shape(x);
    if (w.rank() != 2 || w[1] != map[1] * map[2] * map[3]) unsupported("its input is no flattened activation");
    emit_conv(n, {}, weights, {w[0], map[1], map[2], map[3]}, bias(n, w[0]), x, kAbsent, false, "linear");
  }

  void emit_conv(const Node& n, const Conv2dParams& conv, std::vector<double> w, const Shape& shape,
                 const std::vector<double>& b, int x, int residual, bool relu, const std::string& label) {
    const bool real = is_real(n.output);
    const Activation act =
        relu && !real ? Activation{.output = n.output, .suffix = "+relu", .relu = true} : activation_behind(n.output);
    const Conv2dGeometry g = Conv2dGeometry::make(n.name.c_str(), out_.shape(x), shape, conv);
    const ImageNormalization* const image = out_.is_image(n.inputs[0]) ? &*options_.input : nullptr;
    LayerCodes codes;
    try {
      codes = quantize_layer(n.name, std::move(w), shape, b, double(out_.grid(x).scale), g, image, options_.per_channel,
                             options_.round);
    } catch (const ValueError& e) {
      throw ValueError(message("quantizing ", n.name, ": ", e.what()));
    }
    QConv2dOptions o{.conv = conv};
    if (!real) {
      const QResult y = act.clamp(out_.wanted_grid(act.output));
      o.y = y.y;
      o.lo = y.lo;
      o.hi = y.hi;
    }
    const std::vector<int> in{x, out_.add_constant(n.name + ".weight", codes.weight),
                              out_.add_constant(n.name + ".weight_scale", codes.scale),
                              out_.add_constant(n.name + ".bias", codes.bias), residual};
    if (!real) {
      out_.add_codes(act.output, opdef::qconv2d, n.name, in, to_attrs(o), label + act.suffix);
      mark_done(act.node);
    } else if (!relu) {
      out_.add_map(n.output, opdef::qconv2d, n.name, in, to_attrs(o), label);
    } else {
      const int sum = out_.add(kAbsent, opdef::qconv2d, n.name, in, to_attrs(o), {label, {}});
      out_.add_map(n.output, *opdef::real_unary("relu"), out_.unused_name(n.name + ".relu"), {sum},
                   to_attrs(RealUnaryOptions{}), "relu");
    }
  }

  void lower_add(const Node& n) {
    const int a = out_.operand(n.inputs[0]), b = out_.operand(n.inputs[1]);
    if (input_shape(n, 0) != input_shape(n, 1))
      unsupported(message("it broadcasts ", input_shape(n, 0), " and ", input_shape(n, 1)));
    if (out_.shape(a) != out_.shape(b))
      unsupported("it adds a flattened map and another vector, which lie in memory in different orders");
    if (is_real(n.output)) {
      out_.add_map(n.output, opdef::real_add, n.name, {a, b}, {}, "add");
      return;
    }
    const std::vector<int> in{out_.codes(n.inputs[0]), out_.codes(n.inputs[1])};
    const Activation act = activation_behind(n.output);
    out_.add_codes(act.output, opdef::qadd, n.name, in, to_attrs(act.clamp(out_.wanted_grid(act.output))),
                   message("add", act.suffix));
    mark_done(act.node);
  }

  // A product of maps, or of a map and a gate: one number for each of its channels.
  void lower_mul(const Node& n) {
    refuse_result(n);
    int a = out_.codes(n.inputs[0]), b = out_.codes(n.inputs[1]);
    const Shape &x = input_shape(n, 0), &y = input_shape(n, 1);
    const auto is_pixel = [&](int value) { return out_.shape(value)[2] * out_.shape(value)[3] == 1; };
    if (x != y && is_pixel(a)) std::swap(a, b);
    const bool gate = x.rank() == 4 && y.rank() == 4 && is_pixel(b);
    if (out_.shape(a)[1] != out_.shape(b)[1] || (!gate && (x != y || out_.shape(a) != out_.shape(b))))
      unsupported(message("it multiplies ", x, " and ", y));
    const Activation act = activation_behind(n.output);
    out_.add_codes(act.output, opdef::qmul, n.name, {a, b}, to_attrs(act.clamp(out_.wanted_grid(act.output))),
                   message("mul", act.suffix));
    mark_done(act.node);
  }

  void lower_cat(const Node& n) {
    refuse_result(n);
    const int rank = shape(n.output).rank(), dim = n.options<DimOptions>().dim;
    if (rank < 2 || (dim != 1 && dim != 1 - rank)) unsupported(message("it joins along dimension ", dim));
    std::vector<int> inputs;
    for (const int id : n.inputs) {
      inputs.push_back(out_.codes(id));
      const Shape& map = out_.shape(inputs.back());
      if (rank == 2 && map[2] * map[3] != 1) unsupported("it joins flattened maps");
    }
    out_.add_codes(n.output, opdef::qcat, n.name, std::move(inputs), to_attrs(out_.wanted_grid(n.output)), "cat");
  }

  // Of ops that make codes: a result is never quantized.
  void refuse_result(const Node& n) const {
    if (is_real(n.output)) unsupported("no layer comes between it and the result, which is not quantized");
  }

  void lower_max_pool(const Node& n) {
    const auto o = n.options<Pool2dOptions>();
    const Attrs window = to_attrs(QPoolWindow{o.kernel, o.stride, o.padding});
    if (is_real(n.output))
      out_.add_map(n.output, opdef::real_max_pool2d, n.name, {out_.operand(n.inputs[0])}, window, "max_pool2d");
    else  // on the grid of its operand: pooling makes no new codes
      out_.add_codes(n.output, opdef::qmax_pool2d, n.name, {out_.codes(n.inputs[0])}, window, "max_pool2d");
  }

  void lower_average_pool(const Node& n) {
    const auto [o, count_include_pad] = n.options<AvgPool2dOptions>();
    emit_average(n, {o.kernel, o.stride, o.padding}, count_include_pad, "avg_pool2d");
  }

  void emit_average(const Node& n, const QPoolWindow& window, bool count_include_pad, const char* label) {
    if (is_real(n.output))
      out_.add_map(n.output, opdef::real_avg_pool2d, n.name, {out_.operand(n.inputs[0])},
                   to_attrs(RealAvgPool2dOptions{window, count_include_pad}), label);
    else
      out_.add_codes(n.output, opdef::qavg_pool2d, n.name, {out_.codes(n.inputs[0])},
                     to_attrs(QAvgPool2dOptions{window, count_include_pad, out_.wanted_grid(n.output)}), label);
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
    const DimList dims = n.options<ReduceOptions>().dims;
    const auto at = [&](int i) { return dims[i] < 0 ? dims[i] + 4 : dims[i]; };
    return dims.rank() == 2 && std::min(at(0), at(1)) == 2 && std::max(at(0), at(1)) == 3;
  }

  void lower_global_average(const Node& n) {
    if (const Node* fc = final_linear(n); fc && lower_sum_and_linear(n, *fc)) return;
    const Shape& map = out_.map_shape(n.inputs[0]);
    const Hw whole{map[2], map[3]};
    emit_average(n, {whole, whole, 0}, true, "global_avg_pool2d");
  }

  // The linear layer right behind a global average whose result stays real, or null.
  const Node* final_linear(const Node& pool) const {
    const Node* next = only_consumer(pool.output);
    while (next && (next->is(opdef::flatten) || next->is(opdef::reshape))) next = only_consumer(next->output);
    const auto has_constants = [&](const Node& fc) {
      return g_.is_constant(fc.inputs[1]) && (fc.inputs[2] == kAbsent || g_.is_constant(fc.inputs[2]));
    };
    const bool fits = next && next->is(opdef::linear) && is_real(next->output) && !in_float_.contains(next);
    return fits && has_constants(*next) ? next : nullptr;
  }

  // Exact: no rounding between the map and the logits. False where the sums of large maps would leave no room in an
  // int32 for weights that are about as fine as those behind a rounded average.
  bool lower_sum_and_linear(const Node& pool, const Node& fc) {
    const int x = out_.codes(pool.inputs[0]);
    const int64_t channels = out_.shape(x)[1], pixels = out_.shape(x)[2] * out_.shape(x)[3];
    const QParams grid = out_.grid(x);
    const Shape& shape = input_shape(fc, 1);
    if (shape.rank() != 2 || shape[1] != channels) return false;
    const int64_t outputs = shape[0];
    const double unit = double(grid.scale) / double(pixels);
    const std::vector<double> b = bias(fc, outputs), w = constant(fc, 1);
    std::vector<double> least;
    for (int64_t o = 0; o < outputs; ++o) {
      least.push_back(std::abs(b[size_t(o)]) / (unit * kMostBias));
      const auto first = w.begin() + (options_.per_channel ? o * channels : 0);
      const double top = largest(first, options_.per_channel ? first + channels : w.end());
      if (top > 0 && least.back() > top / 64) return false;
    }
    const QWeights q = quantize_weights(fc.name, w, shape, least, options_.per_channel, options_.round);

    const Tensor units_of = Tensor::empty({outputs}, DType::i32);
    const auto codes = q.codes.data<int8_t>();
    const auto bias = Tensor(units_of).mutable_data<int32_t>();
    for (int64_t o = 0; o < outputs; ++o) {
      const auto row = codes.subspan(size_t(o * channels), size_t(channels));
      const auto sum = std::accumulate(row.begin(), row.end(), int64_t{0});
      const auto size =
          std::accumulate(row.begin(), row.end(), int64_t{0}, [](int64_t s, int8_t v) { return s + std::abs(int{v}); });
      const double units = std::nearbyint(b[size_t(o)] / (unit * q.scale[size_t(o)])) -
                           double(grid.zero_point) * double(pixels) * double(sum);
      if (255.0 * double(pixels) * double(size) + std::abs(units) >= 2147483648.0) return false;
      bias[size_t(o)] = int32_t(units);
    }
    const std::vector<float> scale(q.scale.begin(), q.scale.end());
    const int sums = out_.add(pool.output, opdef::qglobal_sum, pool.name, {x}, {}, {"global_sum", {}});
    out_.add_vector(fc.output, opdef::qlinear, fc.name,
                    {sums, out_.add_constant(fc.name + ".weight", q.codes),
                     out_.add_constant(fc.name + ".weight_scale", Tensor::from(scale, {outputs})),
                     out_.add_constant(fc.name + ".bias", units_of)},
                    to_attrs(QLinearOptions{pixels}), "linear");
    for (const Node* n = &pool; n != &fc;) {
      n = only_consumer(n->output);
      mark_done(n);
    }
    return true;
  }

  // Reshapes that leave every element where it is in [N,C,H,W] order and only rename the shape.
  void lower_reshape(const Node& n) {
    const Shape &before = input_shape(n, 0), &after = shape(n.output);
    const Shape& map = out_.map_shape(n.inputs[0]);
    const bool flat = after.rank() == 2 && after[1] == map[1] * map[2] * map[3];
    if (after[0] != before[0] || (!flat && after != map)) unsupported(message("from ", before, " to ", after));
    out_.rename(n.inputs[0], n.output);
  }

  bool lower_elementwise(const Node& n) {
    const RealFunction f = real_function(n.op->name);
    if (!f) return false;
    const double number = n.attrs.empty() ? 0 : n.options<ScalarOptions>().value;
    if (is_real(n.output)) {
      out_.add_map(n.output, *opdef::real_unary(n.op->name), n.name, {out_.operand(n.inputs[0])},
                   to_attrs(RealUnaryOptions{number}), n.op->name);
      return true;
    }
    const int x = out_.codes(n.inputs[0]);
    const QParams in = out_.grid(x), out = out_.wanted_grid(n.output);
    Tensor codes = Tensor::empty({256}, DType::u8);
    const auto table = codes.mutable_data<uint8_t>();
    for (int code = 0; code < 256; ++code) {
      const double v = f(double(in.scale) * (code - in.zero_point), number);
      const double q = std::nearbyint(v / double(out.scale)) + out.zero_point;
      table[size_t(code)] = std::isnan(q) ? uint8_t(out.zero_point) : uint8_t(std::clamp(q, 0.0, 255.0));
    }
    out_.add_codes(n.output, opdef::qlut, n.name, {x, out_.add_constant(n.name + ".table", codes)}, to_attrs(out),
                   n.op->name);
    return true;
  }

  const Graph& g_;
  const LowerOptions& options_;
  InFloat& in_float_;
  const std::vector<int> uses_;
  std::vector<bool> real_;  // graph values that stay real numbers
  std::vector<bool> done_;  // nodes that an earlier one took in
  Forms out_;
};

void check(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options) {
  g.validate();
  if (!options.round) throw ValueError("lower: there is no rounder");
  if (g.inputs.size() != 1 || g.outputs.size() != 1)
    throw KernelError(message("cannot quantize a graph with ", g.inputs.size(), " inputs and ", g.outputs.size(),
                              " outputs: one of each is needed"));
  if (ranges.size() != g.values.size())
    throw ValueError(message("lower: ", ranges.size(), " ranges for ", g.values.size(), " values"));
  if (g.nodes.empty() || g.outputs[0] == g.inputs[0])
    throw KernelError("cannot quantize a graph that computes nothing");
  const nn::graph::Value& x = g.values[size_t(g.inputs[0])];
  if (x.dtype != DType::f32 || x.shape.rank() == 0)
    throw KernelError(message("cannot quantize an input ", name(x.dtype), x.shape, ": f32 [N,...] is needed"));
  try {
    check_batch(g);
  } catch (const Error& e) {
    throw KernelError(message("cannot quantize a graph that takes no batches: ", e.what()));
  }
  if (!options.input) return;
  if (x.shape.rank() != 4)
    throw KernelError(message("cannot quantize an input ", x.shape, " with an ImageNormalization: no image [N,C,H,W]"));
  options.input->check(x.shape[1]);
}

}  // namespace

Lowered lower(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options) {
  check(g, ranges, options);
  // What a node that turns out to have no int8 form reads stays real numbers: known only the next time.
  InFloat in_float;
  for (;;) {
    const size_t known = in_float.size();
    Lowered lowered = Lowering(g, ranges, options, in_float).run();
    if (in_float.size() != known) continue;
    lowered.model.normalization = options.input;
    for (const int64_t m : macs(g)) lowered.model.graph_macs += m;
    lowered.model.validate();
    return lowered;
  }
}

}  // namespace mininn::quant
