// Exact integer Winograd convolution F(4x4, 3x3), shared by every instruction set: the weights, the check, the walk.
//
// Four times fewer multiplications than a direct convolution, and the same accumulators to the bit. With d a 6x6 patch
// of u8 codes and w a 3x3 filter of s8 (Lavin and Gray 2015, the transforms freed of their fractions):
//
//   V = B^T d B                       |V| <= 17,340: s16
//   U = (S G) w (S G)^T               |U| <= 18,288: s16; S = diag(6, -4, -4, 1, 1, 12)
//   M = sum over input channels U V   s16 x s16 -> s32, modulo 2^32
//   T = A^T M A                       modulo 2^32; equals 576 times the sum that a direct convolution computes
//
//         4  0 -5  0  1  0        1  0  0               1  1  1  1  1  0
//         0 -4 -4  1  1  0        1  1  1               0  1 -1  2 -2  0
//   B^T = 0  4 -4 -1  1  0    G = 1 -1  1         A^T = 0  1  1  4  4  0
//         0 -2 -1  2  1  0        1  2  4               0  1 -1  8 -8  2
//         0  2 -1 -2  1  0        1 -2  4
//         0  4  0 -5  0  1        0  0  1
//
// The division is exact: 576 = 9 * 64, 9 has an inverse modulo 2^32, and what is left is 64 times the sum, as long as
// that fits 26 bits: admits() refuses weights and biases that could exceed it. Converted to float and multiplied by a
// 64th of the multiplier, it gives the same bits as the sum itself. Padding is pixels of the input's zero point; the
// bias, into which that point is folded, is what one of the products begins with.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/winograd.h"
#include "cpu_kernels/own/int8/conv/packed.h"
#include "cpu_kernels/own/int8/conv/tile.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

inline constexpr uint32_t kInverseOfNine = 954437177;  // modulo 2^32
inline constexpr int64_t kWinogradSumLimit = int64_t{1} << 25;

// The parts of the algorithm that each instruction set writes for itself (winograd.inl).
struct WinogradIsa {
  int lanes;      // output channels of a vector; everything works on pairs of vectors
  int channels;   // input channels that input() works on at a time
  int tiles;      // most tiles of a product
  int64_t cache;  // bytes of a core's L2 cache

  // x[36]: a patch's pixels; transforms `channels` codes of each into v[point * point_stride + channel].
  void (*input)(const uint8_t* const* x, int64_t channels, int16_t* v, int64_t point_stride);
  // w: [steps][9][2 * lanes][2], a step being two input channels; u[point * point_stride + ..]: [steps][2 * lanes][2].
  void (*filter)(const int8_t* w, int64_t steps, int16_t* u, int64_t point_stride);
  // m[tile][36][2 * lanes] = start[2 * lanes] (or m, where that is null) + the sum over `steps` pairs of channels of
  // v[tile * v_stride + ..] * u. Meanwhile brings weights into the L1 cache: in step i as many as a step reads, from
  // ahead + i * ahead_step on.
  using Product = void (*)(const int16_t* v, int64_t v_stride, const int16_t* u, int64_t steps, const int32_t* start,
                           int32_t* m, const int16_t* ahead, int64_t ahead_step);
  const Product* product;  // [tiles]: for 1, 2, .. tiles
  // m: [36][2 * lanes] of one tile, whose 4x4 pixels are those of t; the first `rows` x `cols` exist.
  void (*output)(const QTile& t, int rows, int cols, const int32_t* m);
};

// Who transforms the weights. Transformed ones are eight times as large: read once, they cost more time than they save.
enum class WinogradWeights {
  stored,     // pack(): for many tiles, or few enough channels to stay in the cache
  on_the_fly  // every call, a cacheful at a time, from s8
};

// Null, or why the algorithm does not apply: the shape, a bias that depends on the pixel, or weights, biases or
// multipliers that would not give an exact result.
Refusal check_winograd(const op::QConv2d& a);
Refusal winograd_admits(const op::QConv2d& a);
// Whether it is expected to beat a direct kernel that does `speed` times as many multiplications per cycle.
bool winograd_pays(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights weights, double speed);
Tensor pack_winograd(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights weights);
void run_winograd(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights weights);

}  // namespace mininn::cpu::own
