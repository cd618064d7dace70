// What the int8 convolutions share: their operands as kernels get them, and the way from a sum to a result.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/own/eight.h"
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

// Channels of a pixel of the result from `first` on; pixels are counted through the batch. Y: uint8_t for codes, float
// for real numbers.
template <class Y>
struct ResultPixel {
  const Convolution& q;
  const int32_t* bias;
  const float* multiplier;
  const uint8_t* residual;
  Y* y;

  __device__ ResultPixel(const Convolution& c, int64_t pixel, int64_t first, Y* result)
      : q(c),
        bias(c.bias + first),
        multiplier(c.multiplier + first),
        residual(c.residual ? c.residual + pixel * c.residual_pixel + first : nullptr),
        y(result + pixel * (std::is_same_v<Y, float> ? c.g.oc : c.y_pixel) + first) {
    if (c.row_class) bias += (c.row_class[pixel / c.g.ow % c.g.oh] + c.col_class[pixel % c.g.ow]) * c.g.oc;
  }
  // `count` of eight channels from their sums, to which the bias comes: modulo 2^32, as the products are added.
  __device__ void store(const Eight<int32_t>& sums, int count) const {
    const Eight<int32_t> b = load_eight(bias, count);
    const Eight<float> m = load_eight(multiplier, count);
    const Eight<uint8_t> r = residual ? load_eight(residual, count) : Eight<uint8_t>{};
    Eight<Y> result;
    MININN_UNROLL for (int i = 0; i < 8; ++i) {
      float t = float(int32_t(uint32_t(sums.v[i]) + uint32_t(b.v[i]))) * m.v[i];
      if (residual) t = std::fmaf(float(int32_t{r.v[i]} - q.residual_zero), q.residual_scale, t);
      if constexpr (std::is_same_v<Y, float>)
        result.v[i] = t;
      else
        result.v[i] = to_code(t, q.range);
    }
    store_eight(y, result, count);
  }
};

// All of them, for the kernels on tensor cores.
template <class Y>
struct Results {
  Convolution q;
  Y* y;
  __device__ ResultPixel<Y> row(int64_t pixel, int64_t channel) const { return {q, pixel, channel, y}; }
};

}  // namespace mininn::cuda::own
