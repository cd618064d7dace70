// What an int8 network does behind its last layers, on real numbers: nothing there is rounded to codes. Plain loops
// with one order of additions: the same bits for any batch and number of threads.
#pragma once

#include <string_view>

#include "core/qparams.h"
#include "core/view.h"
#include "ops/qpool.h"

namespace mininn::quant {

// An elementwise op: y = f(x, value); most ignore `value`.
using RealFunction = double (*)(double x, double value);
// The unary or scalar op of ops/functors.h with this name; null if there is none.
RealFunction real_function(std::string_view op);

// An operand [N,C,H,W]: real numbers, f32 channels-last, or codes, u8 pixel-strided (ops/qlayout.h).
struct RealOperand {
  CView x;
  QParams q;  // what codes stand for

  // Channel c of a pixel, counted through the whole batch.
  float operator()(int64_t pixel, int64_t c) const {
    const int64_t at = pixel * x.strides[3] + c;
    return x.dtype == DType::f32 ? x.as<float>()[at] : float(x.as<uint8_t>()[at] - q.zero_point) * q.scale;
  }
};

// `y` is f32 channels-last, of the shape that the step says.
void real_unary(RealFunction f, double value, const RealOperand& x, const View& y);
void real_add(const RealOperand& a, const RealOperand& b, const View& y);
// The largest number of each window; padding never wins, NaN always does.
void real_max_pool(const RealOperand& x, const QPoolWindow& window, const View& y);
// The mean of each window: over kh * kw with count_include_pad, else over its pixels that are not padding.
void real_avg_pool(const RealOperand& x, const QPoolWindow& window, bool count_include_pad, const View& y);

}  // namespace mininn::quant
