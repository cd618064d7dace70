// Int8 fully connected layer whose result stays f32: a network's logits are never quantized.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/view.h"
#include "ops/op.h"

namespace mininn {

namespace op {

//   acc[n,o] = sum_k x[n,k] * w[o,k] + bias[o]       int32, exact
//   y[n,o]   = fl32(acc) * multiplier[o]             one IEEE multiplication
// The input's zero point is already in the bias: bias[o] = rne(b[o] / (x_scale * w_scale[o])) - x_zero * sum_k w[o,k].
struct QLinear {
  static constexpr std::string_view op = "qlinear";
  CView x;              // [N,K]: i32 (what QGlobalSum gives) contiguous, or u8 with strides {p, 1}, p >= K
  int32_t x_max = 255;  // largest |x| that can occur; 255 * H * W behind a QGlobalSum
  CView w;              // s8 [O,K] contiguous
  CView bias;           // i32 [O]
  CView multiplier;     // f32 [O]
  View y;               // f32 [N,O] contiguous
};

}  // namespace op

struct QLinearOptions {
  int64_t pixels = 1;  // whose codes were added up
};
template <class F>
void each_field(QLinearOptions& o, const F& field) {
  field("pixels", o.pixels);
}

// The mean of a map times a matrix: sums [N,K] of qglobal_sum() over `pixels` pixels, w s8 [O,K], w_scale f32 [O], bias
// i32 [O] -> [N,O] f32.
Tensor qlinear(const Tensor& sums, const Tensor& w, const Tensor& w_scale, const Tensor& bias, const QLinearOptions& o);

namespace opdef {
extern const OpDef qlinear;
}

// Throws ShapeError, DTypeError or ValueError unless `a` is as described and no accumulator can leave int32:
// x_max * sum_k |w[o,k]| + |bias[o]| < 2^31 for every o. Reads w and bias, which must be in host memory.
void check_qlinear(const op::QLinear& a);

}  // namespace mininn
