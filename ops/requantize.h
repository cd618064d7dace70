// From one grid of codes to another, and what needs no more than that: joining maps.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"
#include "ops/op.h"

namespace mininn {

namespace op {

//   t = fl32(x - x_zero) * scale                                        one IEEE multiplication
//   y = rne(min(max(t, -y_zero), 255 - y_zero)) + y_zero                round half to even; x where the grids are equal
struct Requantize {
  static constexpr std::string_view op = "requantize";
  CView x;  // u8 [N,C,H,W], pixel-strided (ops/qlayout.h)
  int32_t x_zero = 0;
  float scale = 0;  // x's scale / y's scale
  View y;           // u8, pixel-strided, shaped like x; only the C bytes of a pixel are written
  int32_t y_zero = 0;
};

}  // namespace op

// Codes [N,C,H,W] -> codes on another grid.
Tensor requantize(const Tensor& x, const QParams& y);
// Codes [N,Ci,H,W] -> [N,C1+C2+...,H,W] on one grid.
Tensor qcat(const std::vector<Tensor>& tensors, const QParams& y);

namespace opdef {
extern const OpDef requantize, qcat;
}

// Throws ShapeError, DTypeError or ValueError unless `a` is as described.
void check_requantize(const op::Requantize& a);

}  // namespace mininn
