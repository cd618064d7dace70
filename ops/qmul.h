// Int8 product of two activations: a gate on a map (squeeze-and-excite), or two maps.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/view.h"
#include "ops/op.h"
#include "ops/qlayout.h"

namespace mininn {

namespace op {

//   t = fl32((a - a_zero) * (b - b_zero)) * scale                       the product is exact; one IEEE multiplication
//   y = rne(min(max(t, lo - y_zero), hi - y_zero)) + y_zero             round half to even; ReLU is lo = y_zero
struct QMul {
  static constexpr std::string_view op = "qmul";
  CView a;  // u8 [N,C,H,W], pixel-strided (ops/qlayout.h)
  CView b;  // the same, or one pixel for each map: strides of 0 for H and W
  int32_t a_zero = 0, b_zero = 0;
  float scale = 0;  // a's scale * b's scale / y's scale
  View y;           // u8, pixel-strided, shaped like a; only the C bytes of a pixel are written
  int32_t y_zero = 0, lo = 0, hi = 255;
};

}  // namespace op

// Codes [N,C,H,W] times codes of the same shape or [N,C,1,1] -> codes [N,C,H,W].
Tensor qmul(const Tensor& a, const Tensor& b, const QResult& o);

namespace opdef {
extern const OpDef qmul;
}

// Throws ShapeError, DTypeError or ValueError unless `a` is as described.
void check_qmul(const op::QMul& a);

}  // namespace mininn
