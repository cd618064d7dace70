// Into and out of u8 codes: x = scale * (code - zero_point).
#pragma once

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"
#include "ops/op.h"

namespace mininn {

namespace op {

//   y = rne(min(max(x / scale, -zero_point), 255 - zero_point)) + zero_point    IEEE division, round half to even
// NaN becomes code 0.
struct Quantize {
  static constexpr std::string_view op = "quantize";
  CView x;    // f32 [N,C,H,W], any strides
  QParams q;  // scale > 0, zero_point 0..255
  View y;     // u8 [N,C,H,W], pixel-strided (ops/qlayout.h); only the C bytes of a pixel are written
};

// Copies codes (or the bytes of an image) into the pixel-strided layout, e.g. planar RGB to RGB0 pixels.
struct QPack {
  static constexpr std::string_view op = "qpack";
  CView x;  // u8 [N,C,H,W], any strides
  View y;   // u8 [N,C,H,W], pixel-strided; the bytes behind a pixel's C become 0
};

// y = float(x - zero_point) * scale
struct Dequantize {
  static constexpr std::string_view op = "dequantize";
  CView x;  // u8 [N,C,H,W], pixel-strided
  QParams q;
  View y;  // f32 [N,C,H,W], any strides
};

}  // namespace op

// [N,C,H,W] f32 (any strides) -> codes: u8, pixel-strided, with `q` as its qparams(). Like all ops on codes not
// differentiable. Throws ShapeError, DTypeError, ValueError.
Tensor quantize(const Tensor& x, const QParams& q);
// [N,C,H,W] u8 (any strides), the bytes of an image -> codes with scale 1 and zero point 0.
Tensor qpack(const Tensor& bytes);
// Codes -> [N,C,H,W] f32, channels-last. Throws DTypeError for a tensor without qparams().
Tensor dequantize(const Tensor& x);

// What int32 accumulators of a layer are multiplied by: x_scale * w_scale[o] / y_scale, rounded once. [O] f32 each.
Tensor multipliers(double x_scale, const Tensor& w_scale, double y_scale);

namespace opdef {
extern const OpDef quantize, qpack, dequantize;
}

// Throw ShapeError, DTypeError or ValueError unless the arguments are as described.
void check_quantize(const op::Quantize& a);
void check_qpack(const op::QPack& a);
void check_dequantize(const op::Dequantize& a);

}  // namespace mininn
