// Quantizers: between real tensors and integer codes.
#pragma once

#include "core/qparams.h"
#include "core/tensor.h"

namespace mininn::quant {

// u8 codes and what they stand for. A type of its own, so that float code never meets a scale.
struct QTensor {
  Tensor codes;  // u8, shaped like the real tensor; images are stored pixel by pixel (ops/qlayout.h)
  QParams q;
};

// The affine u8 grid that covers [lo, hi] and zero: scale = (max(hi,0) - min(lo,0)) / 255, zero point the code of 0.0.
// [0, 0] gives scale 1, zero point 0. Throws ValueError for bounds that are not finite, and for a range whose scale is
// no normal float: below 1e-38 numbers have fewer bits, and a grid no even steps.
QParams affine_u8(double lo, double hi);

// f32 [N,C,H,W] -> codes: clamp(rne(x / scale) + zero_point, 0, 255), round half to even.
QTensor quantize(const Tensor& x, const QParams& q);
// scale * (code - zero_point), f32 [N,C,H,W] channels-last.
Tensor dequantize(const QTensor& x);

// 10 log10(sum x^2 / sum (x - y)^2) in dB; +inf for equal data, otherwise -inf where x is 0 throughout.
class SignalToNoise {
 public:
  void add(double exact, double quantized) {
    signal_ += exact * exact;
    noise_ += (exact - quantized) * (exact - quantized);
  }
  double decibel() const;

 private:
  double signal_ = 0, noise_ = 0;
};

}  // namespace mininn::quant
