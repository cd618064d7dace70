#include "ops/qconv2d.h"

#include "core/random.h"
#include "core/tuner.h"
#include "ops/qlayout.h"

namespace mininn {
namespace {

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
  const Tensor packed = k.pack(a);
  a.packed = packed.view().data;
  launch(k, a, d);
}

}  // namespace mininn
