#include "quant/lower.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "ops/elementwise.h"
#include "quant/qtensor.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph;
using nn::graph::kAbsent;
using nn::graph::Node;

// Accumulators start at the bias: it may take up this many units, far below 2^31, and still has 24 bits of its own.
constexpr double kMaxBias = 1 << 24;

[[noreturn]] void unsupported(const Node& n, const std::string& why = {}) {
  throw KernelError(message("cannot quantize op ", n.op, " at node ", n.name, why.empty() ? "" : ": ", why));
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
        value_of_(g.values.size(), kAbsent),
        done_(g.nodes.size(), false) {}

  Lowered run() {
    if (g_.inputs.size() != 1 || g_.outputs.size() != 1)
      throw KernelError(message("cannot quantize a graph with ", g_.inputs.size(), " inputs and ", g_.outputs.size(),
                                " outputs: one of each is needed"));
    add_input();
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (!done_[i]) lower_node(g_.nodes[i]);
    const int out = g_.outputs[0];
    if (out_.model.steps.empty()) throw KernelError("cannot quantize a graph that computes nothing");
    out_.model.output = value_of_[size_t(out)];
    const Int8Value& v = out_.model.values[size_t(out_.model.output)];
    const Shape& shape = g_.values[size_t(out)].shape;
    out_.model.flat_output = shape.rank() == 2;
    if (shape.rank() == 2 && v.h * v.w != 1)
      throw KernelError("cannot quantize a graph whose result is a flattened map");
    out_.model.validate();
    return std::move(out_);
  }

 private:
  struct Weights {
    QWeights q;
    Tensor scale, bias;  // f32 [O], i32 [classes,O]
  };

  void add_input() {
    const nn::graph::Value& v = g_.values[size_t(g_.inputs[0])];
    if (v.dtype != DType::f32 || (v.shape.rank() != 2 && v.shape.rank() != 4))
      throw KernelError(
          message("cannot quantize an input ", name(v.dtype), v.shape, ": f32 [N,C] or [N,C,H,W] is needed"));
    out_.model.flat_input = v.shape.rank() == 2;
    out_.model.normalization = options_.input;
    add_codes(g_.inputs[0]);
    if (options_.input) out_.model.values[0].q = {};
  }

  // A value of codes for graph value `id`, on the grid of its observed range.
  int add_codes(int id) { return add_value(id, Int8Value::Kind::codes, affine_u8(range(id).lo, range(id).hi)); }

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
  bool is_output(int id) const { return id == g_.outputs[0]; }
  void mark_done(const Node& n) { done_[size_t(&n - g_.nodes.data())] = true; }

  // Takes a relu or relu6 that alone reads value `id` into the step that makes it.
  Activation absorb_activation(int id) {
    const Node* next = only_consumer(id);
    if (!next || (next->op != "relu" && next->op != "relu6")) return {id, ""};
    mark_done(*next);
    const bool six = next->op == "relu6";
    return {next->output, six ? "+relu6" : "+relu", true, six};
  }

  static void set_clamp(const Activation& a, const QParams& q, int32_t& lo, int32_t& hi) {
    if (a.relu) lo = q.zero_point;
    if (a.bounded) hi = int32_t(std::clamp(std::nearbyint(6 / double(q.scale)) + q.zero_point, double(lo), 255.0));
  }

  // The codes behind a node's input, or an error that names the node.
  int codes(const Node& n, size_t input) {
    if (input >= n.inputs.size() || n.inputs[input] == kAbsent || value_of_[size_t(n.inputs[input])] == kAbsent)
      unsupported(n, message("input ", input, " is a constant or missing"));
    return value_of_[size_t(n.inputs[input])];
  }
  // The same for ops that only a convolution may precede when the input is a raw image.
  int real_codes(const Node& n, size_t input) {
    const int id = codes(n, input);
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
    if (n.op == "conv2d_fused") return lower_conv(n);
    if (n.op == "linear") return lower_linear(n);
    if (n.op == "add") return lower_add(n);
    if (n.op == "max_pool2d") return lower_max_pool(n);
    if (is_global_average(n)) return lower_global_average(n);
    if (n.op == "avg_pool2d") return lower_average_pool(n);
    if (n.op == "flatten" || n.op == "reshape") return lower_reshape(n);
    if (!lower_elementwise(n)) unsupported(n);
  }

  // --- weights ---

  // Quantizes weight w [O, C/groups, kh, kw] behind codes `x` and makes the bias, per border class if the geometry's
  // input is a normalised image.
  Weights quantize(const Node& n, std::vector<double> w, const Shape& shape, const std::vector<double>& b,
                   const Int8Value& x, const Conv2dGeometry& g) {
    const bool image = &x == &out_.model.values[0] && options_.input;
    const size_t oc = size_t(g.oc), taps = size_t(g.kh * g.kw), icg = size_t(g.icg());
    const auto mean = [&](size_t o, size_t c) {  // in bytes, of the input channel that weight [o,c] reads
      return 255.0 * double(options_.input->mean[o / size_t(g.ocg()) * icg + c]);
    };
    std::vector<double> least(oc);
    for (size_t o = 0; o < oc; ++o) {
      double largest = std::abs(b[o]);
      for (size_t c = 0; c < icg && image; ++c)
        for (size_t t = 0; t < taps; ++t) {
          double& v = w[(o * icg + c) * taps + t];
          v /= 255.0 * double(options_.input->std[o / size_t(g.ocg()) * icg + c]);
          largest += std::abs(v * mean(o, c));
        }
      least[o] = largest / (double(x.q.scale) * kMaxBias);
    }
    Weights out;
    try {
      out.q = quantize_weights(w, shape, least, options_.per_channel);
    } catch (const ValueError& e) {
      throw ValueError(message("quantizing ", n.name, ": ", e.what()));
    }
    out.scale = Tensor::from(std::vector<float>(out.q.scale.begin(), out.q.scale.end()), {g.oc});

    // y = sum over taps inside of w' (byte - 255 mean) + b: what a tap on padding contributes is missing from the bias
    // of that pixel. With the rounded weights, so that rounding them shifts no mean.
    const BorderClasses border = image ? border_classes(g) : BorderClasses{{{}}, {{}}, {}, {}};
    out.bias = Tensor::empty({border.count(), g.oc}, DType::i32);
    const auto bias = out.bias.mutable_data<int32_t>();
    const auto codes = out.q.codes.data<int8_t>();
    size_t row = 0;
    for (const auto& rows : border.row_taps)
      for (const auto& cols : border.col_taps) {
        for (size_t o = 0; o < oc; ++o) {
          double units = b[o] / (double(x.q.scale) * out.q.scale[o]);
          for (size_t c = 0; c < icg && image; ++c)
            for (size_t t = 0; t < taps; ++t)
              if (rows[t / size_t(g.kw)] && cols[t % size_t(g.kw)])
                units -= double(codes[(o * icg + c) * taps + t]) * mean(o, c);
          bias[row * oc + o] = int32_t(std::nearbyint(units));
        }
        ++row;
      }
    return out;
  }

  std::vector<double> constant(const Node& n, size_t input, size_t count) const {
    if (input >= n.inputs.size() || n.inputs[input] == kAbsent) return std::vector<double>(count, 0.0);
    if (!g_.is_constant(n.inputs[input])) unsupported(n, message("input ", input, " is no constant"));
    std::vector<double> v = g_.values[size_t(n.inputs[input])].constant.to_vector();
    for (const double d : v)
      if (!std::isfinite(d))
        throw ValueError(message("quantizing ", n.name, ": its bias or weight holds NaN or infinite values"));
    return v;
  }

  // --- ops ---

  void lower_conv(const Node& n) {
    const int x = codes(n, 0);
    if (!g_.is_constant(n.inputs[1])) unsupported(n, "its weight is no constant");
    const nn::graph::Value& weight = g_.values[size_t(n.inputs[1])];
    Int8Conv conv;
    conv.options = {n.pair("stride"), n.pair("padding"), n.pair("dilation"), n.integer("groups")};
    const bool relu = n.integer("relu") != 0;
    std::vector<int> inputs{x};
    const bool residual = n.inputs[3] != kAbsent;
    if (residual) inputs.push_back(real_codes(n, 3));
    emit_conv(n, std::move(conv), constant(n, 1, 0), weight.shape, constant(n, 2, size_t(weight.shape[0])),
              std::move(inputs), relu, message("conv2d", residual ? "+add" : ""));
  }

  void lower_linear(const Node& n) {
    const int x = codes(n, 0);
    const Int8Value& in = out_.model.values[size_t(x)];
    const Shape& w = g_.values[size_t(n.inputs[1])].shape;
    // A linear layer on a flattened map is a convolution whose kernel covers the map: [O, C*H*W] is [O,C,H,W].
    if (w[1] != in.c * in.h * in.w) unsupported(n, "its input is no flattened activation");
    emit_conv(n, {}, constant(n, 1, 0), {w[0], in.c, in.h, in.w}, constant(n, 2, size_t(w[0])), {x}, false, "linear");
  }

  void emit_conv(const Node& n, Int8Conv conv, std::vector<double> w, const Shape& shape, const std::vector<double>& b,
                 std::vector<int> inputs, bool relu, std::string op) {
    Activation act = relu ? Activation{n.output, "+relu", true} : absorb_activation(n.output);
    const bool real = is_output(act.output) && uses_[size_t(act.output)] == 1 && !act.relu;
    const Int8Value& x = out_.model.values[size_t(inputs[0])];
    const Conv2dGeometry g = Conv2dGeometry::make(n.name.c_str(), x.shape(1), shape, conv.options);
    Weights weights = quantize(n, std::move(w), shape, b, x, g);
    conv.weight = weights.q.codes;
    conv.weight_scale = weights.scale;
    conv.bias = weights.bias;
    const int y = real ? add_value(act.output, Int8Value::Kind::real, {}) : add_codes(act.output);
    set_clamp(act, out_.model.values[size_t(y)].q, conv.lo, conv.hi);
    out_.model.graph_macs += g.macs();
    add_step(n.name, op + act.suffix, std::move(inputs), y, std::move(conv));
  }

  void lower_add(const Node& n) {
    const int a = real_codes(n, 0), b = real_codes(n, 1);
    const auto& shape = [&](size_t i) { return g_.values[size_t(n.inputs[i])].shape; };
    if (shape(0) != shape(1)) unsupported(n, message("it broadcasts ", shape(0), " and ", shape(1)));
    const Activation act = absorb_activation(n.output);
    const int y = add_codes(act.output);
    Int8Add add;
    set_clamp(act, out_.model.values[size_t(y)].q, add.lo, add.hi);
    add_step(n.name, message("add", act.suffix), {a, b}, y, add);
  }

  static QPoolWindow window(const Node& n) { return {n.pair("kernel"), n.pair("stride"), n.pair("padding")}; }

  void lower_max_pool(const Node& n) {
    const int x = real_codes(n, 0);
    const QParams q = out_.model.values[size_t(x)].q;
    add_step(n.name, "max_pool2d", {x}, add_value(n.output, Int8Value::Kind::codes, q), Int8MaxPool{window(n)});
  }

  void lower_average_pool(const Node& n) {
    const int x = real_codes(n, 0);
    add_step(n.name, "avg_pool2d", {x}, add_codes(n.output),
             Int8AvgPool{window(n), n.integer("count_include_pad") != 0});
  }

  // A mean over the whole map, however it was written.
  bool is_global_average(const Node& n) const {
    if (n.op == "global_avg_pool2d") return true;
    if (n.inputs.empty() || n.inputs[0] == kAbsent) return false;
    const Shape& in = g_.values[size_t(n.inputs[0])].shape;
    if (in.rank() != 4) return false;
    if (n.op == "avg_pool2d") return n.pair("kernel") == Hw(in[2], in[3]) && n.pair("padding") == Hw(0);
    if (n.op != "mean") return false;
    std::vector<int64_t> dims = n.list("dims");
    for (int64_t& d : dims) d += d < 0 ? 4 : 0;
    std::sort(dims.begin(), dims.end());
    return dims == std::vector<int64_t>{2, 3};
  }

  void lower_global_average(const Node& n) {
    const int x = real_codes(n, 0);
    if (const Node* fc = final_linear(n); fc && lower_sum_and_linear(n, *fc, x)) return;
    const Int8Value& in = out_.model.values[size_t(x)];
    const QPoolWindow whole{{in.h, in.w}, {in.h, in.w}, 0};
    add_step(n.name, "global_avg_pool2d", {x}, add_codes(n.output), Int8AvgPool{whole, true});
  }

  // The linear layer that ends the network right behind a global average, or null.
  const Node* final_linear(const Node& pool) const {
    const Node* next = only_consumer(pool.output);
    while (next && (next->op == "flatten" || next->op == "reshape")) next = only_consumer(next->output);
    return next && next->op == "linear" && is_output(next->output) ? next : nullptr;
  }

  // Exact: no rounding between the map and the logits. False if the sums could overflow.
  bool lower_sum_and_linear(const Node& pool, const Node& fc, int x) {
    const Int8Value in = out_.model.values[size_t(x)];
    const Shape& shape = g_.values[size_t(fc.inputs[1])].shape;
    if (shape[1] != in.c) return false;
    const int64_t pixels = in.h * in.w, outputs = shape[0];
    const double unit = double(in.q.scale) / double(pixels);
    const std::vector<double> b = constant(fc, 2, size_t(outputs));
    std::vector<double> least;
    for (const double v : b) least.push_back(std::abs(v) / (unit * kMaxBias));
    const QWeights q = quantize_weights(constant(fc, 1, 0), shape, least, options_.per_channel);

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
    const int x = codes(n, 0);
    const Shape &before = g_.values[size_t(n.inputs[0])].shape, &after = g_.values[size_t(n.output)].shape;
    const Int8Value& v = out_.model.values[size_t(x)];
    const bool flat = after.rank() == 2 && after[1] == v.c * v.h * v.w;
    const bool same = after.rank() == 4 && after[1] == v.c && after[2] == v.h && after[3] == v.w;
    if (after[0] != before[0] || (!flat && !same)) unsupported(n, message("from ", before, " to ", after));
    value_of_[size_t(n.output)] = x;
  }

  bool lower_elementwise(const Node& n) {
    bool known = false;
    const auto tabulate = [&](auto f) {
      known = true;
      const int x = real_codes(n, 0);
      const int y = add_value(n.output, Int8Value::Kind::codes, affine_u8(range(n.output).lo, range(n.output).hi));
      Int8Value& out = out_.model.values[size_t(y)];
      const Int8Value& in = out_.model.values[size_t(x)];
      out.c = in.c;  // the input may be a flattened map, whose codes stay where they are
      out.h = in.h;
      out.w = in.w;
      Int8Lut lut{Tensor::empty({256}, DType::u8)};
      const auto table = lut.table.mutable_data<uint8_t>();
      for (int code = 0; code < 256; ++code) {
        const double v = f(double(in.q.scale) * (code - in.q.zero_point));
        const double q = std::nearbyint(v / double(out.q.scale)) + out.q.zero_point;
        table[size_t(code)] = std::isnan(q) ? uint8_t(out.q.zero_point) : uint8_t(std::clamp(q, 0.0, 255.0));
      }
      add_step(n.name, n.op, {x}, y, std::move(lut));
    };
    for_each_type(UnaryOps(), [&]<class Op>() {
      if (n.op == Op::op) tabulate([](double v) { return Op::f(v); });
    });
    for_each_type(ScalarOps(), [&]<class Op>() {
      if (n.op == Op::op) tabulate([s = n.number("value")](double v) { return Op::f(v, s); });
    });
    return known;
  }

  const Graph& g_;
  const std::vector<Range>& ranges_;
  const LowerOptions& options_;
  std::vector<int> uses_;
  std::vector<int> value_of_;  // of each graph value
  std::vector<bool> done_;     // nodes that an earlier step took in
  Lowered out_;
};

}  // namespace

Lowered lower(const Graph& g, const std::vector<Range>& ranges, const LowerOptions& options) {
  return Lowering(g, ranges, options).run();
}

}  // namespace mininn::quant
