#include "quant/int8_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "ops/layout.h"
#include "ops/qconv2d.h"
#include "ops/qlayout.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qpool.h"
#include "ops/quantize.h"
#include "ops/registry.h"
#include "ops/work.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph, nn::graph::kAbsent, nn::graph::Node, nn::graph::Value;

// A small file may describe much work: these limits (docs/int8.md) are on what loading and one image may cost.
constexpr int64_t kMaxValue = 1 << 26;              // numbers of one image in a value
constexpr int64_t kMaxValues = int64_t(1) << 32;    // in all values together
constexpr int64_t kMaxMacs = int64_t(1) << 38;      // multiply-accumulates for one image
constexpr int64_t kMaxSlowMacs = int64_t(1) << 33;  // those of wide kernels and thin groups, see is_slow()
constexpr int64_t kMaxReads = int64_t(1) << 33;     // of numbers for one image by all pools
constexpr size_t kMaxNodes = 1 << 13;
constexpr int64_t kMaxSide = 1 << 20;  // of a stride, padding, dilation, kernel
constexpr int kMaxReaders = 16;        // of a constant: each may make a form of its own of it

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw ValueError(message("int8 net: ", parts...));
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) { return i + k < text.size() ? uint8_t(text[i + k]) : uint8_t(0); };
    const uint8_t first = byte(0), second = byte(1);
    size_t length = 1;
    if (first >= 0x80) length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    for (size_t k = 1; k < length; ++k)
      if ((byte(k) & 0xc0) != 0x80) return false;
    // Neither a continuation, nor what a shorter sequence says, nor surrogates, nor beyond U+10FFFF.
    if ((first >= 0x80 && first < 0xc2) || (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90) || first > 0xf4)
      return false;
    i += length;
  }
  return true;
}

// A file could not hold another text.
void check_text(const char* what, std::string_view text) {
  if (!is_utf8(text)) fail(what, " is no UTF-8 text");
}

// |bias| of output o, the largest of all classes; `bias` is [O] or [classes,O].
int64_t largest_bias(const Tensor& bias, size_t o, size_t outputs) {
  const auto v = bias.data<int32_t>();
  int64_t top = 0;
  for (size_t i = o; i < v.size(); i += outputs) top = std::max(top, std::abs(int64_t{v[i]}));
  return top;
}

class NodeChecker {
 public:
  NodeChecker(const Graph& g, const Node& n, std::span<const TensorInfo> infos) : g_(g), n_(n), infos_(infos) {}

  Work check() const {
    const std::vector<TensorInfo> in = nn::graph::input_infos(n_, infos_);
    check_options();
    check_readers_of_codes();
    const TensorInfo y = n_.op->infer(in, n_.attrs);
    const Value& v = g_.values[size_t(n_.output)];
    if (y != infos_[size_t(n_.output)] || y.dtype != v.dtype || y.qparams != v.qparams) {
      throw ShapeError(message("makes ", name(y.dtype), y.shape, ", but ", v.name, " is ", name(v.dtype), v.shape,
                               y.shape == v.shape && y.dtype == v.dtype ? " on another grid" : ""));
    }
    if (n_.is(opdef::qconv2d)) check_conv();
    if (n_.is(opdef::qlinear)) check_linear();
    if (n_.is(opdef::qlut)) check_row_major(1);
    return work_of(*n_.op, in, n_.attrs, y);
  }

 private:
  const QParams& grid(size_t input) const { return *infos_[size_t(n_.inputs[input])].qparams; }
  const Tensor& constant(size_t input) const { return g_.values[size_t(n_.inputs[input])].constant; }

  void check_options() const {
    for (const Attr& a : n_.attrs)
      if (a.name == "stride" || a.name == "padding" || a.name == "dilation" || a.name == "kernel")
        if (const auto* sides = std::get_if<std::vector<int64_t>>(&a.value))
          for (const int64_t side : *sides)
            if (side > kMaxSide) throw ValueError(message("attribute '", a.name, "' is ", side));
  }
  // Only ops on codes know how they lie in memory.
  void check_readers_of_codes() const {
    const auto ops = int8_ops();
    if (!n_.is(opdef::reshape) && std::find(ops.begin(), ops.end(), n_.op) != ops.end()) return;
    for (const int id : n_.inputs)
      if (id != kAbsent && infos_[size_t(id)].qparams) throw DTypeError("it is no op on codes");
  }

  void check_conv() const {
    const auto o = n_.options<QConv2dOptions>();
    const double y_scale = o.real() ? 1 : double(o.y.scale);
    check_layer(grid(0).scale / y_scale, std::max(grid(0).zero_point, 255 - grid(0).zero_point));
    if (const int64_t classes = constant(3).size(0); classes > 1) {
      const auto shape = [&](size_t i) { return infos_[size_t(n_.inputs[i])].shape; };
      const auto g = Conv2dGeometry::make(n_.op->name, shape(0), shape(1), o.conv);
      if (border_classes(g).count() != classes)
        throw ShapeError(message("a bias for ", classes, " classes of borders"));
    }
  }
  void check_linear() const {
    const int64_t pixels = n_.options<QLinearOptions>().pixels;
    if (summed_pixels(g_, infos_, n_.inputs[0]) != pixels)
      throw ValueError(message("its input is no sum of ", pixels, " pixels"));
    check_layer(double(grid(0).scale) / double(pixels), 255 * pixels);
  }

  // `unit` times a weight's scale is what accumulators are multiplied by; x_max is the largest input of their products.
  void check_layer(double unit, int64_t x_max) const {
    for (const size_t i : {1, 2, 3}) {
      if (!g_.is_constant(n_.inputs[i])) throw ValueError(message("its input ", i, " is no constant"));
      check_row_major(i);
    }
    for (const float s : constant(2).data<float>()) {
      if (!std::isfinite(s) || s <= 0) throw ValueError(message("a weight scale is ", s));
      if (!std::isfinite(float(unit * double(s))))
        throw ValueError(message("the scales ", unit, " and ", s, " give no multiplier"));
    }
    const auto codes = constant(1).data<int8_t>();
    if (std::find(codes.begin(), codes.end(), int8_t(-128)) != codes.end()) throw ValueError("a weight is -128");
    const size_t outputs = size_t(constant(1).size(0)), k = codes.size() / outputs;
    for (size_t o = 0; o < outputs; ++o)
      check_accumulator("its weight", int64_t(o), codes.subspan(o * k, k), x_max,
                        largest_bias(constant(3), o, outputs));
  }
  // As files hold it and kernels read it.
  void check_row_major(size_t input) const {
    if (!g_.is_constant(n_.inputs[input]) || constant(input).is_contiguous()) return;
    throw ShapeError(message("input ", input, ' ', constant(input).shape(), " must be row-major without gaps"));
  }

  const Graph& g_;
  const Node& n_;
  std::span<const TensorInfo> infos_;
};

// Whether only the reference kernel may take a layer or product, which is a hundred times as slow as the others.
bool is_slow(const Graph& g, const Node& n) {
  if (!is_int8_layer(n)) return g.values[size_t(n.output)].dtype != DType::f32;
  if (!n.is(opdef::qconv2d)) return false;
  const Shape& w = g.values[size_t(n.inputs[1])].shape;
  const int64_t groups = n.options<QConv2dOptions>().conv.groups;
  const bool depthwise = w[1] == 1 && w[0] == groups;
  return w[2] * w[3] > 128 || (groups > 1 && w[1] % 4 != 0 && !depthwise);
}

void check_values(const Graph& g, std::span<const TensorInfo> infos) {
  if (g.nodes.size() > kMaxNodes) fail(g.nodes.size(), " nodes are more than ", kMaxNodes);
  int64_t all = 0;
  for (size_t i = 0; i < infos.size(); ++i) {
    const Value& v = g.values[i];
    check_text("the name of a value", v.name);
    if (v.constant) continue;  // as large as the file
    for (const int64_t size : infos[i].shape)
      if (size < 1) fail("value ", v.name, " has no numbers: ", infos[i].shape);
    if (numel(infos[i].shape) > kMaxValue || stored_numbers(infos[i]) > kMaxValue)
      fail("value ", v.name, " is too large: ", infos[i].shape);
    all += stored_numbers(infos[i]);
  }
  if (all > kMaxValues) fail("the values of one image are more than ", kMaxValues, " numbers");
  const std::vector<int> uses = use_counts(g);
  for (size_t i = 0; i < infos.size(); ++i)
    if (g.values[i].constant && uses[i] > kMaxReaders)
      fail("constant ", g.values[i].name, " is read ", uses[i], " times, more than ", kMaxReaders);
}

// Bytes of images are no numbers of the network: the layers that read them have the normalisation in their weights.
void check_bytes(const Graph& g, const ImageNormalization& n) {
  const Value& x = g.values[size_t(g.inputs[0])];
  if (x.dtype != DType::u8 || x.shape.rank() != 4)
    fail("with a normalisation the input must be images u8[N,C,H,W], not ", name(x.dtype), x.shape);
  n.check(x.shape[1]);
  std::vector<bool> bytes(g.values.size(), false);
  bytes[size_t(g.inputs[0])] = true;
  for (const Node& node : g.nodes)
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == kAbsent || !bytes[size_t(node.inputs[i])]) continue;
      if (node.is(opdef::qpack))
        bytes[size_t(node.output)] = true;
      else if (!node.is(opdef::dequantize) && !(node.is(opdef::qconv2d) && i == 0))
        fail("node ", node.name,
             " reads the image's bytes, which only layers with the normalisation in their weights may");
    }
}

}  // namespace

void Int8Model::validate() const {
  graph.validate();
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1)
    fail(graph.inputs.size(), " inputs and ", graph.outputs.size(), " outputs; one of each is needed");
  if (layers.size() != graph.nodes.size()) fail(layers.size(), " notes on ", graph.nodes.size(), " nodes");
  if (graph_macs < 0) fail("graph_macs is ", graph_macs);
  for (const auto& [key, note] : calibration) {
    check_text("the name of a note", key);
    check_text("a note", note);
  }
  const std::vector<TensorInfo> infos = infos_of_one(graph);
  check_values(graph, infos);
  if (normalization)
    check_bytes(graph, *normalization);
  else if (input().dtype != DType::f32)
    fail("the input must be f32, not ", name(input().dtype));

  int64_t products = 0, on_codes = 0, slow = 0, read = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    for (const std::string_view text :
         {std::string_view(n.name), std::string_view(layers[i].op), std::string_view(layers[i].in_float)})
      check_text("the name or note of a node", text);
    Work work;
    try {
      work = NodeChecker(graph, n, infos).check();
    } catch (const ShapeError& e) {
      throw ShapeError(message("int8 net: ", n.at(e)));
    } catch (const DTypeError& e) {
      throw DTypeError(message("int8 net: ", n.at(e)));
    } catch (const ValueError& e) {
      fail(n.at(e));
    }
    products = checked_add("int8 net", products, work.macs);
    if (products > kMaxMacs) fail("one image takes more than ", kMaxMacs, " multiply-accumulates");
    if (is_int8_layer(n)) on_codes += work.macs;
    if (is_slow(graph, n)) slow += work.macs;
    if (slow > kMaxSlowMacs)
      fail("one image takes more than ", kMaxSlowMacs,
           " multiply-accumulates of kernels above 128 taps, of groups without a fast kernel and of float ops other "
           "than f32");
    read = checked_add("int8 net", read, work.reads);
    if (read > kMaxReads) fail("the windows of its pools hold more than ", kMaxReads, " numbers of one image");
  }
  if (output().qparams) fail("the result is codes, whose meaning is lost");
  if (graph_macs > 0 && graph_macs < on_codes)
    fail("graph_macs is ", graph_macs, ", and ", on_codes, " are of codes alone");
  check_batch(graph);
  const Shape& y = infos[size_t(graph.outputs[0])].shape;
  if (y.rank() == 0 || y[0] != 1) fail("its result for one image is ", y);
}

void check_batch(const Graph& g) {
  const std::vector<TensorInfo> one = infos_of_one(g), two = infer(g, batched_inputs(g, 2));
  const auto grows = [&](int id) { return id != kAbsent && one[size_t(id)].shape != two[size_t(id)].shape; };
  for (const Node& n : g.nodes) {
    if (std::none_of(n.inputs.begin(), n.inputs.end(), grows)) continue;
    bool across = !grows(n.output);
    for (const Attr& a : n.attrs)
      if (const auto* dim = std::get_if<int64_t>(&a.value); dim && a.name == "dim")
        across = across || *dim == 0 || *dim == -one[size_t(n.inputs[0])].shape.rank();
    if (across) throw ValueError(message("op ", n.op->name, " at node ", n.name, " works across the batch"));
    Shape y = one[size_t(n.output)].shape;
    y[0] *= 2;
    if (y != two[size_t(n.output)].shape)
      throw ValueError(message("op ", n.op->name, " at node ", n.name, " moves the batch from the front"));
  }
  if (!grows(g.outputs[0])) throw ValueError("the result does not depend on the input");
}

bool is_int8_layer(const Node& n) { return n.is(opdef::qconv2d) || n.is(opdef::qlinear); }

std::vector<TensorInfo> infos_of_one(const Graph& g) { return infer(g, batched_inputs(g, 1)); }

int64_t stored_numbers(const TensorInfo& t) {
  if (t.dtype != DType::u8 || t.shape.rank() != 4) return numel(t.shape);
  return checked_mul("int8 net", t.shape[2] * t.shape[3], min_pixel_stride(t.shape[1]));
}

int64_t summed_pixels(const Graph& g, std::span<const TensorInfo> values, int id) {
  for (const Node& n : g.nodes)
    if (n.output == id && n.is(opdef::qglobal_sum)) {
      const Shape& map = values[size_t(n.inputs[0])].shape;
      return map[2] * map[3];
    }
  return 0;
}

std::vector<int64_t> macs(const Graph& g) {
  const std::vector<TensorInfo> infos = infos_of_one(g);
  std::vector<int64_t> out;
  for (const Node& n : g.nodes)
    out.push_back(work_of(*n.op, nn::graph::input_infos(n, infos), n.attrs, infos[size_t(n.output)]).macs);
  return out;
}

}  // namespace mininn::quant
