// Int8 convolution and linear layers. One definition of the arithmetic, which every kernel on every device reproduces
// to the bit:
//
//   acc[o]  = sum_k (x[k] - x_zero) * w[o,k] + bias[class][o]                 int32; padding is the code x_zero
//   t       = fl32(acc) * multiplier[o]                                      one IEEE multiplication
//   t       = fmaf(float(residual - residual_zero), residual_scale, t)       only with a residual
//   y (u8)  = rne(min(max(t, lo - y_zero), hi - y_zero)) + y_zero            round half to even; ReLU is lo = y_zero
//   y (f32) = t                                                              a network's last layer
//
// The definition clamps before it rounds. That equals clamp(rne(t) + y_zero, lo, hi), because the bounds are integers,
// and never overflows the conversion.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/tensor.h"
#include "ops/conv2d.h"

namespace mininn {

namespace op {

struct QConv2d {
  static constexpr std::string_view op = "qconv2d";
  Conv2dGeometry g;
  // u8 codes, logically [N,C,H,W], stored pixel by pixel: strides {H*W*p, 1, W*p, p} with a pixel stride p >= C that is
  // a multiple of 4. The p - C bytes behind a pixel are readable and mean nothing.
  CView x;
  int32_t x_zero = 0;
  CView w;                            // s8 [oc, ic/groups, kh, kw] contiguous, in -127..127
  const std::byte* packed = nullptr;  // what the chosen kernel's pack() made of w, bias and x_zero; run() needs it
  // i32 [classes, oc], contiguous; acc starts here, with -x_zero * sum(w) NOT yet in it (kernels fold it in when
  // packing).
  CView bias;
  // The bias row of output pixel (oh, ow) is row_class[oh] + col_class[ow]; i32 [oh] and [ow], contiguous. Absent: one
  // row for all. A stem whose input is normalised has one row per combination of taps that fall on padding.
  CView row_class, col_class;
  CView multiplier;          // f32 [oc]: x_scale * w_scale[o] / y_scale
  CView residual;            // u8 like y, or absent
  float residual_scale = 0;  // residual's scale / y_scale
  int32_t residual_zero = 0;
  View y;  // u8, pixel stride like x (only the oc bytes of a pixel are written); or f32 channels-last
  int32_t y_zero = 0, lo = 0, hi = 255;

  // For core/tuner.h, which says what they are.
  std::string key() const;
  Rehearsal<QConv2d> rehearse() const;
};

}  // namespace op

// Output pixels of a convolution, classed by which kernel taps fall on padding. A stem with folded normalisation has
// one bias per class, because padding is 0 after normalisation, which no byte stands for.
struct BorderClasses {
  struct Taps {  // kernel rows (columns) begin .. end - 1; both 0 if there are none
    int64_t begin = 0, end = 0;
    bool contain(int64_t tap) const { return begin <= tap && tap < end; }
    auto operator<=>(const Taps&) const = default;
  };
  std::vector<Taps> row_taps, col_taps;  // per row (column) class: which kernel rows (columns) are inside
  std::vector<int32_t> row, col;  // pixel (oh, ow) has class row[oh] + col[ow]: row class * col_taps.size() + col class
  int64_t count() const { return int64_t(row_taps.size() * col_taps.size()); }
};
// Throws ValueError for 2^31 classes or more.
BorderClasses border_classes(const Conv2dGeometry& g);

struct QConv2dOptions {
  Conv2dParams conv;
  QParams y{0, 0};           // what the result's codes stand for; {0, 0}: it stays f32
  int32_t lo = 0, hi = 255;  // clamp of the codes: the activation function

  bool real() const { return y == QParams{0, 0}; }
};
template <class F>
void each_field(QConv2dOptions& o, const F& field) {
  each_field(o.conv, field);
  each_field(o.y, field);
  field("lo", o.lo);
  field("hi", o.hi);
}

// x codes [N,C,H,W], w s8 [O,C/groups,kh,kw] in -127..127, w_scale f32 [O], bias i32 [classes,O] in units of x's scale
// times w_scale (one row, or one per class of border_classes()), residual codes like the result or undefined
// -> codes [N,O,oh,ow], or f32 channels-last.
Tensor qconv2d(const Tensor& x, const Tensor& w, const Tensor& w_scale, const Tensor& bias, const Tensor& residual,
               const QConv2dOptions& o);

namespace opdef {
extern const OpDef qconv2d;
}

// Checks what the comment on QConv2d promises to kernels, all but the elements of w, bias, the classes and multiplier:
// the chosen kernel's pack() reads those, and throws ValueError. Throws ShapeError, DTypeError or ValueError.
void check_qconv2d(const op::QConv2d& a);

// What kernels rely on in the constants beyond types and shapes: every pack() asks it first, since it is the one to
// read them, in the host's memory. Throws ValueError for a bias class without a row, for the code -128 (its negation
// would overflow), for an accumulator that can leave int32 and for a multiplier that is not finite.
void check_qconv2d_constants(const op::QConv2d& a);

// Checks, selects, packs and runs: for tests and one-off calls. A compiled net packs once (quant/int8_net.h).
void qconv2d(op::QConv2d a, Device d = Device::cpu());

}  // namespace mininn
