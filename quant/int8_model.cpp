#include "quant/int8_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_set>

#include "core/convert.h"
#include "ops/qconv2d.h"
#include "ops/qlayout.h"
#include "ops/qreal.h"
#include "ops/window.h"
#include "quant/overloaded.h"

namespace mininn::quant {
namespace {

// A small file may describe much work: these limits (docs/int8.md) are on what loading and one image may cost.
constexpr int64_t kMaxSide = 1 << 20;               // of a value, kernel, stride, ...
constexpr int64_t kMaxValue = 1 << 26;              // codes of one image in a value
constexpr int64_t kMaxValues = int64_t(1) << 32;    // in all values together
constexpr int64_t kMaxMacs = int64_t(1) << 38;      // multiply-accumulates for one image
constexpr int64_t kMaxSlowMacs = int64_t(1) << 33;  // those of wide kernels and thin groups, see is_slow()
constexpr int64_t kMaxReads = int64_t(1) << 33;     // of numbers for one image by all pools
constexpr size_t kMaxSteps = 1 << 13;
constexpr int64_t kMaxSum = std::numeric_limits<int32_t>::max() / 255;  // pixels whose codes may be added up

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

void check_side(const std::string& where, const char* what, int64_t v, int64_t least) {
  if (v < least || v > kMaxSide) fail(where, ": ", what, " is ", v);
}

void check_pair(const std::string& where, const char* what, Hw v, int64_t least) {
  check_side(where, what, v.h, least);
  check_side(where, what, v.w, least);
}

// As files hold it and kernels read it.
void check_row_major(const std::string& where, const char* what, const Tensor& t) {
  if (!t.is_contiguous())
    throw ShapeError(message("int8 net: ", where, ": ", what, ' ', t.shape(), " must be row-major without gaps"));
}

void check_tensor(const std::string& where, const char* what, const Tensor& t, DType dtype, const Shape& shape) {
  if (!t || t.dtype() != dtype || t.shape() != shape)
    throw ShapeError(message("int8 net: ", where, ": ", what, " must be ", name(dtype), shape, ", not ",
                             t ? message(name(t.dtype()), t.shape()) : "missing"));
  check_row_major(where, what, t);
}

// `x_scale` times a weight scale over `y_scale` is what accumulators are multiplied by.
void check_scales(const std::string& where, double x_scale, const Tensor& scale, double y_scale) {
  for (const float s : scale.data<float>()) {
    if (!std::isfinite(s) || s <= 0) fail(where, ": a weight scale is ", s);
    if (!std::isfinite(float(x_scale * double(s) / y_scale)))
      fail(where, ": the scales ", x_scale, ", ", s, " and ", y_scale, " give no multiplier");
  }
}

void check_ratio(const std::string& where, float x_scale, double y_scale) {
  const float ratio = float(double(x_scale) / y_scale);
  if (!std::isfinite(ratio) || ratio <= 0)
    fail(where, ": the scales ", x_scale, " and ", y_scale, " are too far apart");
}

// |bias| of output o, the largest of all classes; `bias` is [O] or [classes,O].
int64_t largest_bias(const Tensor& bias, size_t o, size_t outputs) {
  const auto v = bias.data<int32_t>();
  int64_t top = 0;
  for (size_t i = o; i < v.size(); i += outputs) top = std::max(top, std::abs(int64_t{v[i]}));
  return top;
}

void check_accumulators(const std::string& where, const Tensor& weight, const Tensor& bias, int64_t x_max) {
  const size_t outputs = size_t(weight.size(0)), k = size_t(weight.numel()) / outputs;
  const std::string who = "int8 net: " + where;
  for (size_t o = 0; o < outputs; ++o)
    check_accumulator(who.c_str(), int64_t(o), weight.data<int8_t>().subspan(o * k, k), x_max,
                      largest_bias(bias, o, outputs));
}

void check_codes_weight(const std::string& where, const Tensor& weight) {
  const auto codes = weight.data<int8_t>();
  if (std::find(codes.begin(), codes.end(), int8_t(-128)) != codes.end()) fail(where, ": a weight is -128");
}

void check_clamp(const std::string& where, int32_t lo, int32_t hi, int32_t zero) {
  if (lo < 0 || hi > 255 || lo > zero || zero > hi)
    fail(where, ": clamps codes to ", lo, "..", hi, " around zero ", zero);
}

int64_t codes_per_image(const Int8Value& v) { return v.h * v.w * min_pixel_stride(v.c); }

void check_value(const Int8Value& v) {
  check_text("the name of a value", v.name);
  const std::string where = message("value ", v.name);
  if (v.kind != Int8Value::Kind::codes && v.kind != Int8Value::Kind::sums && v.kind != Int8Value::Kind::real)
    fail(where, " is of no kind: ", int(v.kind));
  check_side(where, "c", v.c, 1);
  check_side(where, "h", v.h, 1);
  check_side(where, "w", v.w, 1);
  if (v.h * v.w > kMaxValue || codes_per_image(v) > kMaxValue)
    fail(where, " is too large: [", v.c, ",", v.h, ",", v.w, "]");
  if (v.kind == Int8Value::Kind::sums && v.h * v.w > kMaxSum)
    fail(where, ": sums over ", v.h * v.w, " pixels do not fit 32 bits");
  if (!std::isfinite(v.q.scale) || v.q.scale <= 0) fail(where, " has scale ", v.q.scale);
  if (v.q.zero_point < 0 || v.q.zero_point > 255) fail(where, " has zero point ", v.q.zero_point);
}

class StepChecker {
 public:
  StepChecker(const Int8Model& m, const Int8Step& s) : m_(m), s_(s), where_(message("step ", excerpt(s.name))) {}

  void operator()(const Int8Conv& c) const {
    expect(s_.inputs.size() == 2 ? 2 : 1);
    check_pair(where_, "stride", c.options.stride, 1);
    check_pair(where_, "padding", c.options.padding, 0);
    check_pair(where_, "dilation", c.options.dilation, 1);
    check_side(where_, "groups", c.options.groups, 1);
    if (!c.weight || c.weight.dtype() != DType::i8 || c.weight.rank() != 4)
      fail(where_, ": weight must be s8 [O,C,kh,kw]");
    check_row_major(where_, "weight", c.weight);
    for (int d = 0; d < 4; ++d) check_side(where_, "a weight size", c.weight.size(d), 1);
    const Conv2dGeometry g = geometry(m_, s_, c, 1);
    check_shape(g.oc, g.oh, g.ow);
    check_tensor(where_, "weight_scale", c.weight_scale, DType::f32, {g.oc});
    const bool bordered = c.bias && c.bias.rank() == 2 && c.bias.size(0) > 1;
    check_tensor(where_, "bias", c.bias, DType::i32, {bordered ? border_classes(g).count() : 1, g.oc});
    const double y_scale = is_real() ? 1 : double(out().q.scale);
    check_scales(where_, double(in(0).q.scale), c.weight_scale, y_scale);
    check_codes_weight(where_, c.weight);
    check_accumulators(where_, c.weight, c.bias, std::max(in(0).q.zero_point, 255 - in(0).q.zero_point));
    if (!is_real()) check_clamp(where_, c.lo, c.hi, out().q.zero_point);
    if (s_.inputs.size() == 2) {
      check_same(in(1), out());
      check_ratio(where_, in(1).q.scale, y_scale);
    }
  }
  void operator()(const Int8Linear& l) const {
    if (s_.inputs.size() != 1 || in(0).kind != Int8Value::Kind::sums || out().kind != Int8Value::Kind::real)
      fail(where_, ": linear takes sums and makes real numbers");
    check_shape(out().c, 1, 1);
    check_tensor(where_, "weight", l.weight, DType::i8, {out().c, in(0).c});
    check_tensor(where_, "weight_scale", l.weight_scale, DType::f32, {out().c});
    check_tensor(where_, "bias", l.bias, DType::i32, {out().c});
    const int64_t pixels = in(0).h * in(0).w;
    check_scales(where_, double(in(0).q.scale) / double(pixels), l.weight_scale, 1);
    check_codes_weight(where_, l.weight);
    check_accumulators(where_, l.weight, l.bias, 255 * pixels);
  }
  void operator()(const Int8MaxPool& p) const {
    expect(1);
    check_window(p.window);
    if (!is_real() && !(in(0).q == out().q)) fail(where_, ": max pooling must keep scale and zero point");
  }
  void operator()(const Int8AvgPool& p) const {
    expect(1);
    check_window(p.window);
    if (!is_real()) check_ratio(where_, in(0).q.scale, double(out().q.scale));
  }
  void operator()(const Int8GlobalSum&) const {
    if (s_.inputs.size() != 1 || in(0).kind != Int8Value::Kind::codes || out().kind != Int8Value::Kind::sums)
      fail(where_, ": takes codes and makes sums");
    if (out().c != in(0).c || out().h != in(0).h || out().w != in(0).w || !(out().q == in(0).q))
      fail(where_, ": its sums must be described like its input");
  }
  void operator()(const Int8Lut& l) const {
    expect(1);
    if (is_real()) fail(where_, ": a table makes codes");
    check_same(in(0), out());
    check_tensor(where_, "table", l.table, DType::u8, {256});
  }
  void operator()(const Int8Add& a) const {
    expect(2);
    check_same(in(0), out());
    check_same(in(1), out());
    if (is_real()) return;
    check_clamp(where_, a.lo, a.hi, out().q.zero_point);
    for (const size_t i : {0, 1}) check_ratio(where_, in(i).q.scale, double(out().q.scale));
  }
  void operator()(const Int8Mul& m) const {
    expect(2);
    if (is_real()) fail(where_, ": a product makes codes");
    check_same(in(0), out());
    if (in(1).h != 1 || in(1).w != 1 || in(1).c != out().c) check_same(in(1), out());
    check_clamp(where_, m.lo, m.hi, out().q.zero_point);
    check_ratio(where_, in(0).q.scale, double(out().q.scale) / double(in(1).q.scale));
  }
  void operator()(const Int8Cat&) const {
    if (s_.inputs.empty()) fail(where_, " joins nothing");
    expect(s_.inputs.size());
    if (is_real()) fail(where_, ": joining makes codes");
    int64_t channels = 0;
    for (size_t i = 0; i < s_.inputs.size(); ++i) {
      channels += in(i).c;
      check_shape(out().c, in(i).h, in(i).w);
      check_ratio(where_, in(i).q.scale, double(out().q.scale));
    }
    check_shape(channels, out().h, out().w);
  }
  void operator()(const RealUnary& u) const {
    expect(1);
    if (!is_real()) fail(where_, ": its output must be real numbers");
    check_same(in(0), out());
    if (!real_function(u.op)) fail(where_, ": there is no elementwise op '", excerpt(u.op), "'");
    if (!stays_finite(u.value, DType::f32)) fail(where_, ": its number is ", u.value);
  }

 private:
  const Int8Value& in(size_t i) const { return m_.values[size_t(s_.inputs[i])]; }
  const Int8Value& out() const { return m_.values[size_t(s_.output)]; }

  bool is_real() const { return out().kind == Int8Value::Kind::real; }

  // n inputs, all codes, or also real numbers where a step that is no convolution makes such; the output is no sums.
  void expect(size_t n) const {
    if (s_.inputs.size() != n) fail(where_, " has ", s_.inputs.size(), " inputs, not ", n);
    const bool takes_real = is_real() && !std::holds_alternative<Int8Conv>(s_.body);
    for (size_t i = 0; i < n; ++i)
      if (in(i).kind != Int8Value::Kind::codes && !(takes_real && in(i).kind == Int8Value::Kind::real))
        fail(where_, ": input ", i, " is no codes");
    if (out().kind == Int8Value::Kind::sums) fail(where_, ": its output must be codes or real numbers");
  }
  // Every window holds a pixel, and as many as the output has fit in.
  void check_window(const QPoolWindow& w) const {
    check_pair(where_, "kernel", w.kernel, 1);
    check_pair(where_, "stride", w.stride, 1);
    check_pair(where_, "padding", w.padding, 0);
    if (w.kernel.h * w.kernel.w > kMaxSum)
      fail(where_, ": sums over ", w.kernel.h * w.kernel.w, " pixels do not fit 32 bits");
    const auto windows = [&](int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
      const int64_t positions = detail::window_positions(where_.c_str(), size, padding, kernel, stride);
      if (padding >= kernel || positions == 0)
        fail(where_, ": a kernel of ", kernel, " with padding ", padding, " does not fit a size of ", size);
      return positions;
    };
    check_shape(in(0).c, windows(in(0).h, w.kernel.h, w.stride.h, w.padding.h),
                windows(in(0).w, w.kernel.w, w.stride.w, w.padding.w));
  }
  void check_shape(int64_t c, int64_t h, int64_t w) const {
    if (out().c != c || out().h != h || out().w != w)
      throw ShapeError(message("int8 net: ", where_, " makes [", c, ",", h, ",", w, "], but ", out().name, " is [",
                               out().c, ",", out().h, ",", out().w, "]"));
  }
  void check_same(const Int8Value& a, const Int8Value& b) const {
    if (a.c != b.c || a.h != b.h || a.w != b.w)
      throw ShapeError(message("int8 net: ", where_, ": ", a.name, " and ", b.name, " differ in shape"));
  }

  const Int8Model& m_;
  const Int8Step& s_;
  std::string where_;
};

// Numbers of one image in a pool's windows: below 2^49, so 2^13 steps stay far from overflow.
int64_t reads(const Int8Model& m, const Int8Step& s) {
  const auto in_windows = [&](const QPoolWindow& w) {
    const Int8Value& y = m.values[size_t(s.output)];
    return y.c * y.h * y.w * w.kernel.h * w.kernel.w;
  };
  return std::visit(
      Overloaded{[&](const Int8MaxPool& p) { return in_windows(p.window); },
                 [&](const Int8AvgPool& p) { return in_windows(p.window); }, [](const auto&) { return int64_t{0}; }},
      s.body);
}

// Whether only the reference kernel may take a step, which is a hundred times as slow as the others.
bool is_slow(const Int8Step& s) {
  const auto* c = std::get_if<Int8Conv>(&s.body);
  if (!c) return false;
  const Shape& w = c->weight.shape();
  const bool depthwise = w[1] == 1 && w[0] == c->options.groups;
  return w[2] * w[3] > 128 || (c->options.groups > 1 && w[1] % 4 != 0 && !depthwise);
}

}  // namespace

int64_t Int8Step::weight_count() const {
  return std::visit(
      Overloaded{[](const Int8Conv& c) { return c.weight.numel(); },
                 [](const Int8Linear& l) { return l.weight.numel(); }, [](const auto&) { return int64_t{0}; }},
      body);
}

void Int8Model::freeze() {
  const auto freeze = [](Tensor& t) { t = t.frozen(); };
  const auto freeze_weights = [&](auto& layer) {
    freeze(layer.weight);
    freeze(layer.weight_scale);
    freeze(layer.bias);
  };
  for (Int8Step& s : steps)
    std::visit(Overloaded{[&](Int8Conv& c) { freeze_weights(c); }, [&](Int8Linear& l) { freeze_weights(l); },
                          [&](Int8Lut& l) { freeze(l.table); }, [](auto&) {}},
               s.body);
}

void Int8Model::validate() const {
  if (values.empty() || values[0].kind != Int8Value::Kind::codes) fail("the input must be codes");
  if (steps.size() > kMaxSteps || values.size() > kMaxSteps + 1)
    fail(steps.size(), " steps with ", values.size(), " values are more than ", kMaxSteps);
  int64_t numbers = 0, products = 0, slow = 0, read = 0;
  for (const Int8Value& v : values) {
    check_value(v);
    numbers += codes_per_image(v);
  }
  if (numbers > kMaxValues) fail("the values of one image are more than ", kMaxValues, " numbers");
  if (flat_input && (values[0].h != 1 || values[0].w != 1)) fail("a flat input has no height and width");
  if (normalization) {
    normalization->check(values[0].c);
    if (!(values[0].q == QParams{})) fail("bytes of an image have scale 1 and zero point 0");
  }
  std::vector<bool> made(values.size(), false);
  made[0] = true;
  std::unordered_set<std::string_view> names;
  for (const auto& [key, note] : calibration) {
    check_text("the name of a note", key);
    check_text("a note", note);
  }
  for (const Int8Step& s : steps) {
    check_text("the name of a step", s.name);
    check_text("a step's op", s.op);
    if (s.name.empty() || !names.insert(s.name).second) fail("two steps are called '", excerpt(s.name), "'");
    for (const int id : s.inputs)
      if (id < 0 || size_t(id) >= values.size() || !made[size_t(id)])
        fail("step ", s.name, " reads value ", id, ", which nothing made before");
    const auto first = s.inputs.begin() + (!s.inputs.empty() && std::holds_alternative<Int8Conv>(s.body) ? 1 : 0);
    if (normalization && std::find(first, s.inputs.end(), 0) != s.inputs.end())
      fail("step ", s.name, " reads the image's bytes, which only layers with the normalisation in their weights may");
    if (s.output < 0 || size_t(s.output) >= values.size() || made[size_t(s.output)])
      fail("step ", s.name, " makes value ", s.output, ", which does not exist or is made already");
    made[size_t(s.output)] = true;
    std::visit(StepChecker(*this, s), s.body);
    products += macs(*this, s);
    if (products > kMaxMacs) fail("one image takes more than ", kMaxMacs, " multiply-accumulates");
    if (is_slow(s)) slow += macs(*this, s);
    if (slow > kMaxSlowMacs)
      fail("one image takes more than ", kMaxSlowMacs,
           " multiply-accumulates of kernels above 128 taps and of groups without a fast kernel");
    read += reads(*this, s);
    if (read > kMaxReads) fail("the windows of its pools hold more than ", kMaxReads, " numbers of one image");
  }
  for (size_t i = 0; i < values.size(); ++i)
    if (!made[i]) fail("no step makes value ", values[i].name);
  if (output < 0 || size_t(output) >= values.size() || !made[size_t(output)]) fail("nothing makes the output");
  const Int8Value& out = values[size_t(output)];
  if (out.kind == Int8Value::Kind::sums) fail("the output must not be sums");
  if (flat_output && (out.h != 1 || out.w != 1))
    fail("a flat output has no height and width, ", out.name, " is [", out.c, ",", out.h, ",", out.w, "]");
  if (graph_macs < 0) fail("graph_macs is ", graph_macs);
}

Conv2dGeometry geometry(const Int8Model& m, const Int8Step& s, const Int8Conv& c, int64_t n) {
  return Conv2dGeometry::make(s.name.c_str(), m.values[size_t(s.inputs[0])].shape(n), c.weight.shape(), c.options);
}

int64_t macs(const Int8Model& m, const Int8Step& s) {
  return std::visit(
      Overloaded{[&](const Int8Conv& c) { return geometry(m, s, c, 1).macs(); },
                 [](const Int8Linear& l) { return l.weight.numel(); }, [](const auto&) { return int64_t{0}; }},
      s.body);
}

}  // namespace mininn::quant
