// Into and out of u8 codes: x = scale * (code - zero_point).
#pragma once

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"

namespace mininn {

//   y = rne(min(max(x / scale, -zero_point), 255 - zero_point)) + zero_point    IEEE division, round half to even
// NaN becomes code 0.
struct Quantize {
  CView x;    // f32 [N,C,H,W], any strides
  QParams q;  // scale > 0, zero_point 0..255
  View y;     // u8 [N,C,H,W], pixel-strided (ops/qlayout.h); only the C bytes of a pixel are written
};

// Copies codes (or the bytes of an image) into the pixel-strided layout, e.g. planar RGB to RGB0 pixels.
struct QPack {
  CView x;  // u8 [N,C,H,W], any strides
  View y;   // u8 [N,C,H,W], pixel-strided; the bytes behind a pixel's C become 0
};

// y = float(x - zero_point) * scale
struct Dequantize {
  CView x;  // u8 [N,C,H,W], pixel-strided
  QParams q;
  View y;  // f32 [N,C,H,W], any strides
};

KernelTable<Quantize>& quantize_kernels();
KernelTable<QPack>& qpack_kernels();
KernelTable<Dequantize>& dequantize_kernels();

// Throw ShapeError, DTypeError or ValueError unless the arguments are as described.
void check_quantize(const Quantize& a);
void check_qpack(const QPack& a);
void check_dequantize(const Dequantize& a);

}  // namespace mininn
