// Which grid covers a range of numbers, and how much a grid loses.
#pragma once

#include "core/qparams.h"

namespace mininn::quant {

// The affine u8 grid that covers [lo, hi] and zero: scale = (max(hi,0) - min(lo,0)) / 255, zero point the code of 0.0.
// [0, 0] gives scale 1, zero point 0. Throws ValueError for bounds that are not finite, and for a range whose scale is
// no normal float: below 1e-38 numbers have fewer bits, and a grid no even steps.
QParams affine_u8(double lo, double hi);

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
