// Int8 addition of two activations, each in its own scale (a residual sum that no convolution absorbs).
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/view.h"
#include "ops/op.h"
#include "ops/qlayout.h"

namespace mininn {

namespace op {

//   t = fmaf(float(a - a_zero), a_scale, float(b - b_zero) * b_scale)   one IEEE multiplication, one fused multiply-add
//   y = rne(min(max(t, lo - y_zero), hi - y_zero)) + y_zero             round half to even; ReLU is lo = y_zero
struct QAdd {
  static constexpr std::string_view op = "qadd";
  CView a, b;  // u8 [N,C,H,W], pixel-strided (ops/qlayout.h); the pixel strides may differ
  int32_t a_zero = 0, b_zero = 0;
  float a_scale = 0, b_scale = 0;  // each operand's scale / y's scale
  View y;                          // u8, pixel-strided, shaped like a; only the C bytes of a pixel are written
  int32_t y_zero = 0, lo = 0, hi = 255;
};

}  // namespace op

// Codes [N,C,H,W] + codes of the same shape -> codes.
Tensor qadd(const Tensor& a, const Tensor& b, const QResult& o);

namespace opdef {
extern const OpDef qadd;
}

// Throws ShapeError, DTypeError or ValueError unless `a` is as described.
void check_qadd(const op::QAdd& a);

}  // namespace mininn
