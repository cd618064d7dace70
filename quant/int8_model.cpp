#include "quant/int8_model.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "ops/qlayout.h"
#include "quant/overloaded.h"

namespace mininn::quant {
namespace {

constexpr int64_t kMaxSide = 1 << 20;        // of a value, kernel, stride, ...
constexpr int64_t kMaxValueBytes = 1 << 28;  // of one image's codes

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw ValueError(message("int8 net: ", parts...));
}

void check_side(const std::string& where, const char* what, int64_t v, int64_t least) {
  if (v < least || v > kMaxSide) fail(where, ": ", what, " is ", v);
}

void check_pair(const std::string& where, const char* what, Hw v, int64_t least) {
  check_side(where, what, v.h, least);
  check_side(where, what, v.w, least);
}

void check_tensor(const std::string& where, const char* what, const Tensor& t, DType dtype, const Shape& shape) {
  if (!t || t.dtype() != dtype || t.shape() != shape)
    throw ShapeError(message("int8 net: ", where, ": ", what, " must be ", name(dtype), shape, ", not ",
                             t ? message(name(t.dtype()), t.shape()) : "missing"));
}

void check_scales(const std::string& where, const Tensor& scale) {
  for (const float s : scale.data<float>())
    if (!std::isfinite(s) || s <= 0) fail(where, ": a weight scale is ", s);
}

void check_codes_weight(const std::string& where, const Tensor& weight) {
  const auto codes = weight.data<int8_t>();
  if (std::find(codes.begin(), codes.end(), int8_t(-128)) != codes.end()) fail(where, ": a weight is -128");
}

void check_clamp(const std::string& where, int32_t lo, int32_t hi, int32_t zero) {
  if (lo < 0 || hi > 255 || lo > zero || zero > hi)
    fail(where, ": clamps codes to ", lo, "..", hi, " around zero ", zero);
}

void check_value(const Int8Value& v) {
  const std::string where = message("value ", v.name);
  check_side(where, "c", v.c, 1);
  check_side(where, "h", v.h, 1);
  check_side(where, "w", v.w, 1);
  if (v.h * v.w > kMaxValueBytes / 4 || v.h * v.w * min_pixel_stride(v.c) > kMaxValueBytes / 4)
    fail(where, " is too large: [", v.c, ",", v.h, ",", v.w, "]");
  if (!std::isfinite(v.q.scale) || v.q.scale <= 0) fail(where, " has scale ", v.q.scale);
  if (v.q.zero_point < 0 || v.q.zero_point > 255) fail(where, " has zero point ", v.q.zero_point);
}

void check_window(const std::string& where, const QPoolWindow& w) {
  check_pair(where, "kernel", w.kernel, 1);
  check_pair(where, "stride", w.stride, 1);
  check_pair(where, "padding", w.padding, 0);
}

class StepChecker {
 public:
  StepChecker(const Int8Model& m, const Int8Step& s) : m_(m), s_(s), where_(message("step ", s.name)) {}

  void operator()(const Int8Conv& c) const {
    expect(s_.inputs.size() == 2 ? 2 : 1);
    check_pair(where_, "stride", c.options.stride, 1);
    check_pair(where_, "padding", c.options.padding, 0);
    check_pair(where_, "dilation", c.options.dilation, 1);
    check_side(where_, "groups", c.options.groups, 1);
    if (!c.weight || c.weight.dtype() != DType::i8 || c.weight.rank() != 4)
      fail(where_, ": weight must be s8 [O,C,kh,kw]");
    for (int d = 0; d < 4; ++d) check_side(where_, "a weight size", c.weight.size(d), 1);
    const Conv2dGeometry g = geometry(m_, s_, c, 1);
    check_shape(g.oc, g.oh, g.ow);
    check_tensor(where_, "weight_scale", c.weight_scale, DType::f32, {g.oc});
    const bool bordered = c.bias && c.bias.rank() == 2 && c.bias.size(0) > 1;
    check_tensor(where_, "bias", c.bias, DType::i32, {bordered ? border_classes(g).count() : 1, g.oc});
    check_scales(where_, c.weight_scale);
    check_codes_weight(where_, c.weight);
    if (out().kind == Int8Value::Kind::codes) check_clamp(where_, c.lo, c.hi, out().q.zero_point);
    if (s_.inputs.size() == 2) check_same(in(1), out());
    if (out().kind == Int8Value::Kind::sums) fail(where_, ": makes sums");
  }
  void operator()(const Int8Linear& l) const {
    if (s_.inputs.size() != 1 || in(0).kind != Int8Value::Kind::sums || out().kind != Int8Value::Kind::real)
      fail(where_, ": linear takes sums and makes real numbers");
    check_shape(out().c, 1, 1);
    check_tensor(where_, "weight", l.weight, DType::i8, {out().c, in(0).c});
    check_tensor(where_, "weight_scale", l.weight_scale, DType::f32, {out().c});
    check_tensor(where_, "bias", l.bias, DType::i32, {out().c});
    check_scales(where_, l.weight_scale);
    check_codes_weight(where_, l.weight);
  }
  void operator()(const Int8MaxPool& p) const {
    expect(1);
    check_window(where_, p.window);
    if (!(in(0).q == out().q)) fail(where_, ": max pooling must keep scale and zero point");
  }
  void operator()(const Int8AvgPool& p) const {
    expect(1);
    check_window(where_, p.window);
  }
  void operator()(const Int8GlobalSum&) const {
    if (s_.inputs.size() != 1 || in(0).kind != Int8Value::Kind::codes || out().kind != Int8Value::Kind::sums)
      fail(where_, ": takes codes and makes sums");
    if (out().c != in(0).c || out().h != in(0).h || out().w != in(0).w || !(out().q == in(0).q))
      fail(where_, ": its sums must be described like its input");
  }
  void operator()(const Int8Lut& l) const {
    expect(1);
    check_same(in(0), out());
    check_tensor(where_, "table", l.table, DType::u8, {256});
  }
  void operator()(const Int8Add& a) const {
    expect(2);
    check_same(in(0), out());
    check_same(in(1), out());
    check_clamp(where_, a.lo, a.hi, out().q.zero_point);
  }

 private:
  const Int8Value& in(size_t i) const { return m_.values[size_t(s_.inputs[i])]; }
  const Int8Value& out() const { return m_.values[size_t(s_.output)]; }

  // n inputs, all codes; the output is codes too, except a convolution's.
  void expect(size_t n) const {
    if (s_.inputs.size() != n) fail(where_, " has ", s_.inputs.size(), " inputs, not ", n);
    for (size_t i = 0; i < n; ++i)
      if (in(i).kind != Int8Value::Kind::codes) fail(where_, ": input ", i, " is no codes");
    if (!std::holds_alternative<Int8Conv>(s_.body) && out().kind != Int8Value::Kind::codes)
      fail(where_, ": its output must be codes");
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

}  // namespace

int64_t Int8Step::weight_count() const {
  return std::visit(
      Overloaded{[](const Int8Conv& c) { return c.weight.numel(); },
                 [](const Int8Linear& l) { return l.weight.numel(); }, [](const auto&) { return int64_t{0}; }},
      body);
}

void Int8Model::validate() const {
  if (values.empty() || values[0].kind != Int8Value::Kind::codes) fail("the input must be codes");
  for (const Int8Value& v : values) check_value(v);
  if (flat_input && (values[0].h != 1 || values[0].w != 1)) fail("a flat input has no height and width");
  if (normalization) {
    const auto& [mean, std] = *normalization;
    if (int64_t(mean.size()) != values[0].c || mean.size() != std.size())
      fail("the input has ", values[0].c, " channels, its normalisation ", mean.size(), " means and ", std.size(),
           " deviations");
    for (size_t c = 0; c < mean.size(); ++c)
      if (!std::isfinite(mean[c]) || !std::isfinite(std[c]) || std[c] <= 0)
        fail("channel ", c, " is normalised by mean ", mean[c], " and deviation ", std[c]);
    if (!(values[0].q == QParams{})) fail("bytes of an image have scale 1 and zero point 0");
  }
  std::vector<bool> made(values.size(), false);
  made[0] = true;
  std::unordered_set<std::string_view> names;
  for (const Int8Step& s : steps) {
    if (s.name.empty() || !names.insert(s.name).second) fail("two steps are called '", s.name, "'");
    for (const int id : s.inputs)
      if (id < 0 || size_t(id) >= values.size() || !made[size_t(id)])
        fail("step ", s.name, " reads value ", id, ", which nothing made before");
    if (s.output < 0 || size_t(s.output) >= values.size() || made[size_t(s.output)])
      fail("step ", s.name, " makes value ", s.output, ", which does not exist or is made already");
    made[size_t(s.output)] = true;
    std::visit(StepChecker(*this, s), s.body);
    if (values[size_t(s.output)].kind == Int8Value::Kind::real && s.output != output)
      fail("step ", s.name, " makes real numbers, but is not the last");
  }
  if (output < 0 || size_t(output) >= values.size() || !made[size_t(output)]) fail("nothing makes the output");
  const Int8Value& out = values[size_t(output)];
  if (out.kind == Int8Value::Kind::sums) fail("the output must not be sums");
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

BorderClasses border_classes(const Conv2dGeometry& g) {
  // Classes along one axis, in order of appearance; returns each output position's class.
  const auto classify = [](int64_t out, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil,
                           std::vector<std::vector<bool>>& classes) {
    std::vector<int32_t> of;
    for (int64_t o = 0; o < out; ++o) {
      std::vector<bool> taps;
      for (int64_t t = 0; t < k; ++t) {
        const int64_t i = o * stride - pad + t * dil;
        taps.push_back(i >= 0 && i < in);
      }
      const auto at = std::find(classes.begin(), classes.end(), taps);
      of.push_back(int32_t(at - classes.begin()));
      if (at == classes.end()) classes.push_back(std::move(taps));
    }
    return of;
  };
  BorderClasses b;
  b.row = classify(g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h, b.row_taps);
  b.col = classify(g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w, b.col_taps);
  for (int32_t& r : b.row) r *= int32_t(b.col_taps.size());
  return b;
}

}  // namespace mininn::quant
