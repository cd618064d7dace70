// fp32 Winograd convolution F(4x4, 3x3): a quarter of a direct convolution's multiplications. Activations and their
// gradients may be bf16 in memory, which halves what is read and written; weights are f32, and so is all arithmetic.
//
// With d a 6x6 patch of the input and w a 3x3 filter (Lavin and Gray 2015):
//
//   V = B^T d B,   U = G w G^T,   M = sum over input channels U V,   y = A^T M A
//
//         a2b2    0 -a2-b2     0  1  0            n   0   0                1  1  1  1  1  0
//            0 -ab2    -b2     a  1  0            p  pa pa2        A^T  =  0  a -a  b -b  0
//   B^T =    0  ab2    -b2    -a  1  0        G = p -pa pa2                0 a2 a2 b2 b2  0
//            0 -ba2    -a2     b  1  0            q  qb qb2                0 a3-a3 b3-b3  1
//            0  ba2    -a2    -b  1  0            q -qb qb2
//            0 a2b2      0 -a2-b2 0  1            0   0   1
//
//   n = 1/a2b2, p = 1/2a2(a2-b2), q = 1/2b2(b2-a2) for the points 0, a, -a, b, -b and infinity. a = 5/8 and b = 3/2,
//   whose products are floats, lose half as many digits as the usual 1 and 2: 1.7e-6 (root mean square, relative) with
//   512 channels.
//
// The input gradient is a convolution too: of gy with the turned filters. The weight gradient goes through the same
// transforms backwards: with the sums over tiles S = sum of V (A gy A^T), gw = G^T S G.
//
// Each element of M is one chain of fused multiply-adds over the input channels, or several of fixed length, one after
// the other: a pixel's bits do not depend on the batch or the number of threads. Those of the weight gradient do not
// depend on the number of threads.
#pragma once

#include <type_traits>

#include "cpu_kernels/common/winograd.h"
#include "cpu_kernels/own/float/tiles.h"
#include "ops/conv2d.h"

namespace mininn::cpu::own {

// Where the outputs of a tile go, for one panel of output channels. Strides are in elements.
template <class T>
struct WinogradOutput {
  T* y = nullptr;
  const T* residual = nullptr;  // laid out like y, or absent
  const float* bias = nullptr;  // of the panel, or absent
  int64_t row = 0, pixel = 0;
  int rows = 0, cols = 0;  // that exist
  int64_t columns = 0;     // output channels
  bool relu = false;
};

// What reads and writes activations, f32 or bf16.
template <class T>
struct WinogradActivations {
  // x[36]: a patch's pixels; transforms `channels` elements of each into v[point * point_stride + channel]. Writes
  // whole vectors.
  void (*input)(const T* const* x, int64_t channels, float* v, int64_t point_stride);
  // m: [36][nr] of one tile.
  void (*output)(const WinogradOutput<T>& o, const float* m);
  // gy[16]: a tile's pixels; d[panel * panel_stride + point * point_stride + 0 .. nr - 1], zeros behind the last
  // channel.
  void (*gradient)(const T* const* gy, int64_t channels, float* d, int64_t point_stride, int64_t panel_stride);
};

// The parts that each instruction set writes for itself (winograd.inl). A panel has tiles().nr output channels.
struct WinogradF32 {
  const TilesF32& (*tiles)();
  int most_tiles;  // of a product
  int64_t cache;   // bytes of a core's L2 cache

  WinogradActivations<float> f32;
  WinogradActivations<bf16> b16;
  template <class T>
  const WinogradActivations<T>& activations() const {
    if constexpr (std::is_same_v<T, float>)
      return f32;
    else
      return b16;
  }

  // w: [k][nr] of tap i at w + i * tap_stride; u: [k][nr] of each point, point_stride apart.
  void (*filter)(const float* w, int64_t tap_stride, int64_t k, float* u, int64_t point_stride);
  // m[tile][36][nr] = the sum over k of v[tile * v_stride + k] * u[k][nr], added to m if `add`. Meanwhile brings
  // floats from `ahead` on into the cache: in step k as many as a step reads, from ahead + k * ahead_step on.
  using Product = void (*)(const float* v, int64_t v_stride, const float* u, int64_t k, bool add, float* m,
                           const float* ahead, int64_t ahead_step);
  const Product* product;  // [most_tiles]: for 1, 2, .. tiles

  // The weight gradient. s[row][nr] = the sum over tiles of v[tile * v_stride + row] * d[tile][nr], added to s if
  // `add`.
  using Correlation = void (*)(const float* v, int64_t v_stride, const float* d, int64_t tiles, bool add, float* s);
  const Correlation* correlation;  // [most_tiles]: for 1, 2, .. rows
  // s: [k][nr] of each point, point_stride apart; gw: [k][nr] of each tap, tap_stride apart.
  void (*filter_gradient)(const float* s, int64_t point_stride, int64_t k, float* gw, int64_t tap_stride);
};

extern const Kernel<op::Conv2dFwd> conv2d_fwd_winograd_avx512, conv2d_fwd_winograd_avx2;
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_winograd_avx512, conv2d_bwd_data_winograd_avx2;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_winograd_avx512, conv2d_bwd_weights_winograd_avx2;

const WinogradF32& winograd_f32_avx512();
const WinogradF32& winograd_f32_avx2();

}  // namespace mininn::cpu::own
