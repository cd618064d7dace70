#include "ops/qconv2d.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "core/random.h"
#include "core/tuner.h"
#include "ops/operand.h"
#include "ops/prepared.h"
#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "ops/work.h"

namespace mininn {
namespace {

using detail::Operand, detail::optional_view;

void check_dtypes(const op::QConv2d& a) {
  if (a.w.dtype != DType::i8 || a.bias.dtype != DType::i32 || a.multiplier.dtype != DType::f32)
    throw DTypeError(message("qconv2d: w, bias, multiplier must be i8, i32, f32, not ", name(a.w.dtype), ", ",
                             name(a.bias.dtype), ", ", name(a.multiplier.dtype)));
  if (a.y.dtype != DType::u8 && a.y.dtype != DType::f32)
    throw DTypeError(message("qconv2d: y must be u8 or f32, not ", name(a.y.dtype)));
}

void check_classes(const op::QConv2d& a) {
  if (bool(a.row_class) != bool(a.col_class))
    throw ValueError("qconv2d: row_class and col_class must be given together");
  if (!a.row_class) return;
  if (a.row_class.dtype != DType::i32 || a.col_class.dtype != DType::i32)
    throw DTypeError(message("qconv2d: row_class and col_class must be i32, not ", name(a.row_class.dtype), " and ",
                             name(a.col_class.dtype)));
  if (!(a.row_class.shape == Shape{a.g.oh}) || !(a.col_class.shape == Shape{a.g.ow}))
    throw ShapeError(message("qconv2d: row_class must be [", a.g.oh, "] and col_class [", a.g.ow, "], not ",
                             a.row_class.shape, " and ", a.col_class.shape));
  if (!a.row_class.contiguous() || !a.col_class.contiguous())
    throw ShapeError("qconv2d: row_class and col_class must be contiguous");
}

}  // namespace

void check_qconv2d(const op::QConv2d& a) {
  check_dtypes(a);
  check_codes("qconv2d", "x", a.x);
  const Conv2dGeometry& g = a.g;
  const Conv2dParams o{.stride = {g.stride_h, g.stride_w},
                       .padding = {g.pad_h, g.pad_w},
                       .dilation = {g.dil_h, g.dil_w},
                       .groups = g.groups};
  if (!(Conv2dGeometry::make("qconv2d", a.x.shape, a.w.shape, o) == g))
    throw ShapeError(message("qconv2d: the geometry is not that of ", a.x.shape, " x ", a.w.shape));
  const Shape y{g.n, g.oc, g.oh, g.ow};
  if (!(a.y.shape == y)) throw ShapeError(message("qconv2d: y must be ", y, ", not ", a.y.shape));
  if (a.y.dtype == DType::u8)
    check_codes("qconv2d", "y", a.y);
  else if (!a.y.channels_last())
    throw ShapeError(message("qconv2d: an f32 y must be channels-last, not ", a.y.strides));
  if (a.residual) {
    check_codes("qconv2d", "residual", a.residual);
    if (!(a.residual.shape == y))
      throw ShapeError(message("qconv2d: residual must be ", y, ", not ", a.residual.shape));
    check_scale("qconv2d", "residual_scale", a.residual_scale);
    check_code_range("qconv2d", a.residual_zero, 0, 255);
  }
  if (a.bias.shape.rank() != 2 || a.bias.shape[0] < 1 || a.bias.shape[1] != g.oc ||
      !(a.multiplier.shape == Shape{g.oc}))
    throw ShapeError(message("qconv2d: bias must be [classes,", g.oc, "] and multiplier [", g.oc, "], not ",
                             a.bias.shape, " and ", a.multiplier.shape));
  if (!a.w.contiguous() || !a.bias.contiguous() || !a.multiplier.contiguous())
    throw ShapeError("qconv2d: w, bias and multiplier must be contiguous");
  check_code_range("qconv2d", a.x_zero, 0, 255);
  check_code_range("qconv2d", a.y_zero, a.lo, a.hi);
  check_classes(a);
}

void check_qconv2d_constants(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t k = g.icg() * g.kh * g.kw, classes = a.bias.shape[0];
  if (a.row_class) {
    const auto [row_min, row_max] = std::ranges::minmax(std::span(a.row_class.as<int32_t>(), size_t(g.oh)));
    const auto [col_min, col_max] = std::ranges::minmax(std::span(a.col_class.as<int32_t>(), size_t(g.ow)));
    const int64_t first = int64_t{row_min} + col_min, last = int64_t{row_max} + col_max;
    if (first < 0 || last >= classes)
      throw ValueError(message("qconv2d: bias classes ", first, "..", last, " of ", classes));
  }
  const auto* w = a.w.as<int8_t>();
  const auto* bias = a.bias.as<int32_t>();
  const int64_t x_max = std::max(a.x_zero, 255 - a.x_zero);
  for (int64_t o = 0; o < g.oc; ++o) {
    const std::span<const int8_t> row(w + o * k, size_t(k));
    if (const auto bad = std::ranges::find(row, int8_t(-128)); bad != row.end())
      throw ValueError(message("qconv2d: weight ", bad - row.begin() + o * k, " is -128; codes are -127..127"));
    int64_t bias_max = 0;
    for (int64_t c = 0; c < classes; ++c) bias_max = std::max(bias_max, std::abs(int64_t{bias[c * g.oc + o]}));
    check_accumulator("qconv2d", o, row, x_max, bias_max);
    if (!std::isfinite(a.multiplier.as<float>()[o]))
      throw ValueError(message("qconv2d: multiplier ", o, " is not finite"));
  }
}

namespace op {

std::string QConv2d::key() const { return g.n == 0 ? "" : g.to_string() + (y.dtype == DType::f32 ? " f32" : ""); }

Rehearsal<QConv2d> QConv2d::rehearse() const {
  constexpr int64_t kReadable = 64;  // bytes behind the last pixel's
  Rehearsal<QConv2d> r{*this, {}, {}};
  Generator random(1);
  const auto codes = [&](const CView& v) {
    Tensor t = Tensor::empty({v.shape[0] * v.strides[0] + kReadable}, DType::u8);
    for (uint8_t& c : t.mutable_data<uint8_t>()) c = uint8_t(random.below(256));
    return t;
  };
  r.input = codes(x);
  r.args.x.data = r.input.view().data;
  if (residual) {
    r.others.push_back(codes(residual));
    r.args.residual.data = r.others.back().view().data;
  }
  Tensor out = Tensor::empty({y.shape[0] * y.strides[0] + kReadable}, y.dtype);
  r.args.y.data = out.mutable_view().data;
  r.others.push_back(out);
  return r;
}

}  // namespace op

void qconv2d(op::QConv2d a, Device d) {
  check_qconv2d(a);
  const Kernel<op::QConv2d>& k = kernels<op::QConv2d>().select(a, d);
  Tensor packed;
  {
    Capture* const capture = Capture::current();
    const CapturePause pause;
    packed = k.pack(a);
    if (capture) capture->keep(packed.storage());
  }
  a.packed = packed.view().data;
  launch(k, a, d);
}

BorderClasses border_classes(const Conv2dGeometry& g) {
  using Taps = BorderClasses::Taps;
  // Classes along one axis, in order of appearance; returns each output position's class.
  const auto classify = [](int64_t out, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil,
                           std::vector<Taps>& classes) {
    std::vector<int32_t> of;
    std::map<Taps, int32_t> known;
    for (int64_t o = 0; o < out; ++o) {
      const int64_t first = o * stride - pad;  // where tap 0 lies
      const int64_t begin = first < 0 ? (dil - 1 - first) / dil : 0;
      const int64_t end = first < in ? std::min(k, (in - 1 - first) / dil + 1) : 0;
      const Taps taps = begin < end ? Taps{begin, end} : Taps{};
      const auto [at, is_new] = known.try_emplace(taps, int32_t(classes.size()));
      if (is_new) classes.push_back(taps);
      of.push_back(at->second);
    }
    return of;
  };
  BorderClasses b;
  b.row = classify(g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h, b.row_taps);
  b.col = classify(g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w, b.col_taps);
  if (b.count() > std::numeric_limits<int32_t>::max())
    throw ValueError(message("qconv2d: ", b.count(), " classes of borders"));
  for (int32_t& r : b.row) r *= int32_t(b.col_taps.size());
  return b;
}

namespace {

// Everything about a layer but its activations.
struct Layer {
  QConv2dOptions o;
  QParams x;
  std::optional<QParams> residual;
  Tensor w, bias, multiplier, row_class, col_class;

  // For x [n, C, H, W].
  Layer(const Shape& x_shape, const QParams& x_, const Tensor& w_, const Tensor& w_scale, const Tensor& bias_,
        const std::optional<QParams>& residual_, const QConv2dOptions& o_)
      : o(o_), x(x_), residual(residual_), w(w_), bias(bias_) {
    for (const Tensor& t : {w_, w_scale, bias_}) {
      Operand("qconv2d", "an operand", t);
      t.require_elements("qconv2d");
    }
    if (!real()) check_scale("qconv2d", "the scale", o.y.scale);
    Operand("qconv2d", "bias", bias_).beside(Operand("qconv2d", "w", w_));
    multiplier = multipliers(double(x.scale), w_scale, y_scale());
    if (bias.rank() != 2 || bias.size(0) == 1) return;
    const BorderClasses border = border_classes(geometry(x_shape));
    if (bias.size(0) != border.count())
      throw ShapeError(message("qconv2d: a bias ", bias.shape(), " for ", border.count(), " classes of borders"));
    row_class = Tensor::from(border.row, {int64_t(border.row.size())}).to(w.device());
    col_class = Tensor::from(border.col, {int64_t(border.col.size())}).to(w.device());
  }

  bool real() const { return o.real(); }
  double y_scale() const { return real() ? 1 : double(o.y.scale); }
  Conv2dGeometry geometry(const Shape& x_shape) const {
    return Conv2dGeometry::make("qconv2d", x_shape, w.shape(), o.conv);
  }
  Tensor result(const Conv2dGeometry& g) const {
    const Shape y{g.n, g.oc, g.oh, g.ow};
    return real() ? Tensor::empty(y, DType::f32, w.device(), MemoryFormat::channels_last)
                  : empty_codes(y, 0, w.device()).with_qparams(o.y);
  }
  // Whether x and the residual lie where the weights do.
  void check_devices(const Tensor& in, const Tensor& add) const {
    const Operand weights("qconv2d", "w", w);
    Operand("qconv2d", "x", in).beside(weights);
    if (add) Operand("qconv2d", "residual", add).beside(weights);
  }
  op::QConv2d args(const Conv2dGeometry& g, const CView& in, const CView& add, const View& y) const {
    op::QConv2d a;
    a.g = g;
    a.x = in;
    a.x_zero = x.zero_point;
    a.w = w.view();
    a.bias = bias.view();
    a.row_class = optional_view(row_class);
    a.col_class = optional_view(col_class);
    a.multiplier = multiplier.view();
    if (residual) {
      a.residual = add;
      a.residual_scale = float(double(residual->scale) / y_scale());
      a.residual_zero = residual->zero_point;
    }
    a.y = y;
    if (!real()) {
      a.y_zero = o.y.zero_point;
      a.lo = o.lo;
      a.hi = o.hi;
    }
    check_qconv2d(a);
    return a;
  }
};

std::optional<QParams> grid_of_residual(const Tensor& residual) {
  return residual ? std::optional(codes_of("qconv2d", "residual", residual)) : std::nullopt;
}

class PackedQConv2d final : public PreparedOp {
 public:
  PackedQConv2d(const Preparation& p, const QConv2dOptions& o)
      : layer_(p.in[0].shape, grid(p.in[0]), p.constants[1], p.constants[2], p.constants[3],
               p.is_given(4) ? std::optional(grid(p.in[4])) : std::nullopt, o),
        sample_(layer_.geometry(p.in[0].shape)) {
    KernelChoice<op::QConv2d> choice;
    with_sample([&](const op::QConv2d& a) { choice = choose_kernel(a, layer_.w.device(), p.between); });
    tuned_ = untyped(choice);
    kernel_ = *choice.kernel;
    // What serves any batch is packed once.
    for (const auto& other : p.others)
      if (const auto* packed = dynamic_cast<const PackedQConv2d*>(other.get()))
        if (packed->kernel_.name == kernel_.name && kernel_.traits.packing_serves_any_batch) packed_ = packed->packed_;
    if (!packed_) pack();
  }

  Tensor call(std::span<const Tensor> in) const override {
    if (codes_of("qconv2d", "x", in[0]) != layer_.x || grid_of_residual(in[4]) != layer_.residual)
      throw ValueError("qconv2d: an operand is on another grid than the layer was made for");
    layer_.check_devices(in[0], in[4]);
    const Conv2dGeometry g = layer_.geometry(in[0].shape());
    Tensor y = layer_.result(g);
    op::QConv2d a = layer_.args(g, in[0].view(), optional_view(in[4]), y.mutable_view());
    const Device device = in[0].device();
    const bool forced = !detail::forced_kernel(a.op).empty();
    if (forced ? kernels<op::QConv2d>().select(a, device).name == kernel_.name : !kernel_.check(a)) {
      a.packed = packed_.view().data;
      launch(kernel_, a, device);
    } else {
      qconv2d(a, device);
    }
    return y;
  }
  const TunedLayer& tuned() const override { return tuned_; }
  Tensor packed() const override { return packed_; }
  std::shared_ptr<const PreparedOp> with_kernel(const std::string& kernel) const override {
    auto other = std::make_shared<PackedQConv2d>(*this);
    other->tuned_.kernel = kernel;
    other->kernel_ = *kernel_named<op::QConv2d>(kernel);
    other->pack();
    return other;
  }

 private:
  static const QParams& grid(const TensorInfo& t) {
    if (!t.qparams) throw DTypeError("qconv2d: an operand is no codes");
    return *t.qparams;
  }
  // Kernels are chosen and weights packed by shapes alone: every operand may be the same byte, aligned as
  // memory of tensors is.
  template <class Use>
  void with_sample(const Use& use) const {
    alignas(64) std::byte unread{};
    const Shape x{sample_.n, sample_.ic, sample_.ih, sample_.iw}, y{sample_.n, sample_.oc, sample_.oh, sample_.ow};
    const auto codes = [&](const Shape& s) {
      return View(&unread, s, pixel_strides(s, min_pixel_stride(s[1])), DType::u8);
    };
    use(layer_.args(sample_, codes(x), codes(y),
                    layer_.real() ? View(&unread, y, channels_last_strides(y), DType::f32) : codes(y)));
  }
  void pack() {
    with_sample([&](const op::QConv2d& a) { packed_ = kernel_.pack(a); });
  }

  Layer layer_;
  Conv2dGeometry sample_;
  TunedLayer tuned_;
  Kernel<op::QConv2d> kernel_;
  Tensor packed_;
};

TensorInfo infer(std::span<const TensorInfo> in, const QConv2dOptions& o) {
  const QParams x = codes_of("qconv2d", "x", in[0]);
  const auto g = Conv2dGeometry::make("qconv2d", in[0].shape, in[1].shape, o.conv);
  const int64_t classes = in[3].shape.rank() == 2 ? std::max<int64_t>(in[3].shape[0], 1) : 1;
  detail::check_info("qconv2d", "w", in[1], {in[1].shape, DType::i8});
  detail::check_info("qconv2d", "w_scale", in[2], {{g.oc}, DType::f32});
  detail::check_info("qconv2d", "bias", in[3], {{classes, g.oc}, DType::i32});
  const Shape shape{g.n, g.oc, g.oh, g.ow};
  const TensorInfo y = o.real() ? TensorInfo{shape, DType::f32} : codes_info("qconv2d", shape, o.y, o.lo, o.hi);
  const double y_scale = o.real() ? 1 : double(o.y.scale);
  check_scale("qconv2d", "the ratio of the scales", float(double(x.scale) / y_scale));
  if (!in[4].absent) {
    const QParams residual = codes_of("qconv2d", "residual", in[4]);
    detail::check_info("qconv2d", "residual", in[4], {shape, DType::u8, residual});
    check_scale("qconv2d", "residual_scale", float(double(residual.scale) / y_scale));
  }
  return y;
}

}  // namespace

Tensor qconv2d(const Tensor& x, const Tensor& w, const Tensor& w_scale, const Tensor& bias, const Tensor& residual,
               const QConv2dOptions& o) {
  const QParams x_q = codes_of("qconv2d", "x", x);
  const Layer layer(x.shape(), x_q, w, w_scale, bias, grid_of_residual(residual), o);
  layer.check_devices(x, residual);
  const Conv2dGeometry g = layer.geometry(x.shape());
  Tensor y = layer.result(g);
  qconv2d(layer.args(g, x.view(), optional_view(residual), y.mutable_view()), x.device());
  return recorded(opdef::qconv2d, {x, w, w_scale, bias, residual}, o, y);
}

constinit const OpDef opdef::qconv2d = costs(
    prepared_by(
        define_op<QConv2dOptions,
                  [](auto in, const auto& o) { return mininn::qconv2d(in[0], in[1], in[2], in[3], in[4], o); }, infer>(
            "qconv2d", {5, 5, 0b10000}),
        [](const Preparation& p) -> std::shared_ptr<const PreparedOp> {
          for (const size_t i : {1, 2, 3})
            if (!p.constants[i]) return nullptr;
          return std::make_shared<PackedQConv2d>(p, from_attrs<QConv2dOptions>(p.attrs));
        }),
    layer_work);

}  // namespace mininn
