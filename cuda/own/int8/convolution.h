// What the int8 convolutions share: their operands as kernels get them, and the way from a sum to a result.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.h"
#include "ops/qconv2d.h"
#include "ops/requant.h"

namespace mininn::cuda::own {

struct Convolution {
  Conv2dGeometry g;
  int64_t pixels;  // of the result
  const uint8_t* x;
  const int8_t* w;                                           // as the call has them, or as a kernel packs them
  int64_t x_image, x_row, x_pixel, y_pixel, residual_pixel;  // distances in elements
  const int32_t* bias;                                       // [classes, oc]
  const int32_t *row_class, *col_class;
  const float* multiplier;
  const uint8_t* residual;
  float residual_scale;
  int32_t residual_zero;
  CodeRange range;

  explicit Convolution(const op::QConv2d& a)
      : g(a.g),
        pixels(g.n * g.oh * g.ow),
        x(a.x.as<uint8_t>()),
        w(a.w.as<int8_t>()),
        x_image(a.x.strides[0]),
        x_row(a.x.strides[2]),
        x_pixel(a.x.strides[3]),
        y_pixel(a.y.strides[3]),
        residual_pixel(a.residual ? a.residual.strides[3] : 0),
        bias(a.bias.as<int32_t>()),
        row_class(a.row_class.as<int32_t>()),
        col_class(a.col_class.as<int32_t>()),
        multiplier(a.multiplier.as<float>()),
        residual(a.residual.as<uint8_t>()),
        residual_scale(a.residual_scale),
        residual_zero(a.residual_zero),
        range(code_range(a.y_zero, a.lo, a.hi)) {}
};

// What the sum of channel o of an output pixel, counted through the batch, begins with.
__device__ inline int32_t bias_of(const Convolution& q, int64_t pixel, int64_t o) {
  const int64_t ow = pixel % q.g.ow, oh = pixel / q.g.ow % q.g.oh;
  const int64_t row = q.row_class ? q.row_class[oh] + q.col_class[ow] : 0;
  return q.bias[row * q.g.oc + o];
}

// y[pixel, o] from the whole sum, bias and all. Y: uint8_t for codes, float for real numbers.
template <class Y>
__device__ inline void store(const Convolution& q, int64_t pixel, int64_t o, int32_t sum, Y* y) {
  float t = float(sum) * q.multiplier[o];
  if (q.residual) {
    const int32_t r = q.residual[pixel * q.residual_pixel + o];
    t = std::fmaf(float(r - q.residual_zero), q.residual_scale, t);
  }
  if constexpr (std::is_same_v<Y, float>)
    y[pixel * q.g.oc + o] = t;
  else
    y[pixel * q.y_pixel + o] = to_code(t, q.range);
}

}  // namespace mininn::cuda::own
