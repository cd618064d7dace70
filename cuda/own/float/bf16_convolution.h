// What the convolutions of bf16 on tensor cores share: the order of their weights, and the way from a sum to a result.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/convert.h"
#include "core/kernel.h"
#include "cuda/own/eight.h"
#include "ops/conv2d.h"

namespace mininn::cuda::own {

// Weights are rounded to bf16.
inline constexpr Traits kRounding{.rounds_weights = true};

// Weights in the order of k: column o of the product, channel c of the source and a tap have element
// o * column + c * channel + tap of OIHW.
struct WeightOrder {
  int64_t columns, channels, taps, column, channel;
  __device__ int64_t place(int64_t o, int64_t c, int64_t tap) const { return o * column + c * channel + tap; }
};

inline WeightOrder forward_order(const Conv2dGeometry& g) {
  const int64_t taps = g.kh * g.kw;
  return {g.oc, g.ic, taps, g.ic * taps, taps};
}
// Of the gradient for the input.
inline WeightOrder gradient_order(const Conv2dGeometry& g) {
  const int64_t taps = g.kh * g.kw;
  return {g.ic, g.oc, taps, taps, g.ic * taps};
}

template <class W>
struct FinishForward {
  int64_t channels;
  const W* bias;
  const bf16* residual;
  bool relu;
  bf16* y;

  // The same, with its pointers at a channel of a pixel.
  __device__ FinishForward row(int64_t pixel, int64_t channel) const {
    const int64_t at = pixel * channels + channel;
    return {channels, bias ? bias + channel : nullptr, residual ? residual + at : nullptr, relu, y + at};
  }
  __device__ void store(const Eight<float>& sums, int count) const {
    const Eight<W> b = bias ? load_eight(bias, count) : Eight<W>{};
    const Eight<bf16> r = residual ? load_eight(residual, count) : Eight<bf16>{};
    Eight<bf16> result;
    MININN_UNROLL for (int i = 0; i < 8; ++i) {
      float sum = sums.v[i];
      if (bias) sum += convert<float>(b.v[i]);
      if (residual) sum += float(r.v[i]);
      result.v[i] = bf16(relu && sum < 0 ? 0 : sum);
    }
    store_eight(y, result, count);
  }
};

// fn() gets that of a call.
template <class Fn>
void finish_forward(const op::Conv2dFwd& q, const Fn& fn) {
  const auto with = [&]<class W>(const W* bias) {
    fn(FinishForward<W>{q.g.oc, bias, q.residual.as<bf16>(), q.relu, q.y.as<bf16>()});
  };
  q.w.dtype == DType::f32 ? with(q.bias.as<float>()) : with(q.bias.as<bf16>());
}

struct FinishGradient {
  int64_t channels;
  bf16* gx;
  __device__ FinishGradient row(int64_t pixel, int64_t channel) const {
    return {channels, gx + pixel * channels + channel};
  }
  __device__ void store(const Eight<float>& sums, int count) const {
    Eight<bf16> result;
    MININN_UNROLL for (int i = 0; i < 8; ++i) result.v[i] = bf16(sums.v[i]);
    store_eight(gx, result, count);
  }
};

}  // namespace mininn::cuda::own
