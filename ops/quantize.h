// Into and out of u8 codes: x = scale * (code - zero_point).
#pragma once

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"

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

// Throw ShapeError, DTypeError or ValueError unless the arguments are as described.
void check_quantize(const op::Quantize& a);
void check_qpack(const op::QPack& a);
void check_dequantize(const op::Dequantize& a);

}  // namespace mininn
