// Direct int8 convolution with vpdpbusd (vnni_zmm.h).
//
// A tile is up to 8 pixels x 2 vectors of 16 output channels. Tiles within a row leave out the products of a row's
// first and last pixel that meet padding: so they have 7 pixels where rows are multiples of 7, and 4 x 4 vectors on
// maps of 4 columns, unless there are images enough for tiles across them. Pixel pointers stay in general registers, so
// any stride, dilation, border or jump to another image costs nothing inside the loop.
#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/taps.h"
#include "cpu_kernels/own/int8/conv/direct.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/vnni_zmm.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

// Adds the next four times kDwords values of pixels [kBegin, kEnd) times their weights of V blocks, `w_block` bytes
// apart.
template <int kDwords, int kBegin, int kEnd, int P, int V>
inline void add_dwords(__m512i (&acc)[P][V], const uint8_t* (&x)[P], const int8_t*& w, int64_t w_block) {
#pragma GCC unroll 4
  for (int i = 0; i < kDwords; ++i) {
    __m512i weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      weights[v] = _mm512_loadu_si512(w + i * 64 + v * w_block);
      __asm__("" : "+v"(weights[v]));  // else GCC reads them again for each of few pixels
    }
#pragma GCC unroll 16
    for (int p = kBegin; p < kEnd; ++p) {
      const __m512i values = broadcast_dword(x[p] + i * 4);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[p][v] = _mm512_dpbusd_epi32(acc[p][v], values, weights[v]);
    }
  }
#pragma GCC unroll 16
  for (int p = kBegin; p < kEnd; ++p) x[p] += kDwords * 4;
  w += kDwords * 64;
}

// Of `steps` dwords of a tap, whose pixels begin at from[p] + offset.
template <int kBegin, int kEnd, int P, int V>
inline void add_tap(__m512i (&acc)[P][V], const uint8_t* const* from, int64_t offset, const int8_t* w, int64_t w_block,
                    int64_t steps) {
  const uint8_t* x[P];
#pragma GCC unroll 8
  for (int p = kBegin; p < kEnd; ++p) x[p] = from[p] + offset;
  for (; steps >= 4; steps -= 4) add_dwords<4, kBegin, kEnd>(acc, x, w, w_block);
  for (; steps > 0; --steps) add_dwords<1, kBegin, kEnd>(acc, x, w, w_block);
}

// Dwords [step, step + steps) of a tap of the tile's pixels from `first` on. Of pixels in a row the first or the last
// one may meet padding; its products are left out.
template <int P, int V>
inline void add_tap(__m512i (&acc)[P][V], const QTile& t, int tap, int first, int64_t step, int64_t steps) {
  const uint8_t* const* const x = t.x + tap * kTilePixels + first;
  const int8_t* const w = t.w + t.tap_offset[tap] + step * 64;
  if (P >= 4 && x[0] == t.padding)
    add_tap<1, P>(acc, x, step * 4, w, t.w_block, steps);
  else if (P >= 4 && x[P - 1] == t.padding)
    add_tap<0, P - 1>(acc, x, step * 4, w, t.w_block, steps);
  else
    add_tap<0, P>(acc, x, step * 4, w, t.w_block, steps);
}

template <int P, int V>
inline void begin(__m512i (&acc)[P][V], const QTile& t, int first) {
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[p][v] = _mm512_loadu_si512(t.bias[first + p] + t.bias_channel + 16 * v);
}

// Codes of all channels of the blocks.
template <bool kResidual, int P, int V>
inline void store_whole(const __m512i (&acc)[P][V], const QTile& t, int first) {
#pragma GCC unroll 2
  for (int v = 0; v + 1 < V; v += 2) {
    const ZmmEpilogue low(t, v), high(t, v + 1);
    // Those behind the last pixel to be stored repeat it.
#pragma GCC unroll 4
    for (int pair = 0; pair < P; pair += 2) {
      const int p = pair < P - 1 ? pair : P - 2, at = first + p;
      store_halves(low.to.sorted(low.rounded<kResidual>(at, acc[p][v]), high.rounded<kResidual>(at, acc[p][v + 1]),
                                 low.rounded<kResidual>(at + 1, acc[p + 1][v]),
                                 high.rounded<kResidual>(at + 1, acc[p + 1][v + 1])),
                   t.y[at] + low.channel, t.y[at + 1] + low.channel);
    }
  }
}

template <int P, int V>
inline void finish(const __m512i (&acc)[P][V], const QTile& t, int first) {
  if (V % 2 == 0 && P > 1 && t.channels == V * 16 && !t.f32)
    return t.has_residual ? store_whole<true>(acc, t, first) : store_whole<false>(acc, t, first);
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const ZmmEpilogue epilogue(t, v);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
      if (first + p < t.pixels) epilogue.store(first + p, acc[p][v]);
  }
}

template <int P, int V>
void tile(const QTile& t) {
  __m512i acc[P][V];
  begin(acc, t, 0);
  for (int tap = 0; tap < t.taps; ++tap) add_tap(acc, t, tap, 0, 0, t.steps);
  finish(acc, t, 0);
}

// Up to four rows of 4 pixels. Many weights meet few pixels where maps are so small: the rows take turns with as many
// of a tap's as stay in the L1 cache, and sums wait in memory meanwhile.
template <int V>
void four_rows(const QTile& t) {
  constexpr int64_t kSteps = 128;
  __m512i sums[4][4][V];
  const int rows = ceil_div(t.pixels, 4);
  for (int row = 0; row < rows; ++row) begin(sums[row], t, row * 4);
  for (int tap = 0; tap < t.taps; ++tap)
    for (int64_t step = 0; step < t.steps; step += kSteps)
      for (int row = 0; row < rows; ++row) {
        const uint8_t* const* const x = t.x + tap * kTilePixels + row * 4;
        if (x[0] == t.padding && x[1] == t.padding && x[2] == t.padding && x[3] == t.padding) continue;
        add_tap(sums[row], t, tap, row * 4, step, t.steps - step < kSteps ? t.steps - step : kSteps);
      }
  for (int row = 0; row < rows; ++row) finish(sums[row], t, row * 4);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

QTileFn tile_function(int pixels, int blocks) {
  static constexpr QTileFn one[] = {tile<1, 1>, tile<2, 1>, tile<4, 1>, tile<7, 1>, tile<8, 1>};
  static constexpr QTileFn two[] = {tile<1, 2>, tile<2, 2>, tile<4, 2>, tile<7, 2>, tile<8, 2>};
  return (blocks == 1 ? one : two)[pixels > 7 ? 4 : pixels > 4 ? 3 : pixels > 2 ? 2 : pixels - 1];
}
QTileFn four_rows_function(int, int blocks) {
  static constexpr QTileFn functions[] = {four_rows<1>, four_rows<2>, four_rows<3>, four_rows<4>};
  return functions[blocks - 1];
}

constexpr QDirectIsa kIsa{.lanes = 16,
                          .pixels = 8,
                          .blocks = 2,
                          .quantum = 8,
                          .weights_in_cache = int64_t{512} << 10,
                          .recode = 0,
                          .tile = tile_function};
constexpr QDirectIsa kRowsOfFour = [] {
  QDirectIsa isa = kIsa;
  isa.pixels = isa.quantum = 16;
  isa.blocks = 4;
  isa.tile = four_rows_function;
  return isa;
}();
constexpr QDirectIsa kRowsOfSeven = [] {
  QDirectIsa isa = kIsa;
  isa.pixels = isa.quantum = 7;
  return isa;
}();

const QDirectIsa& isa_for(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  // Large tiles are few, and so are calls of many channels.
  const int64_t threads = num_threads(), tiles = ceil_div(g.n * g.oh * g.ow, 16), calls = ceil_div(g.ocg(), 64);
  const bool four = g.ow == 4 && std::max(balance(tiles, threads), balance(calls, threads)) > 0.9;
  const bool seven = g.ow % kIsa.pixels != 0 && g.ow % kRowsOfSeven.pixels == 0;
  if (g.pad_w == 0 || !(four || seven) || tiles_across_images(a, kIsa)) return kIsa;
  return four ? kRowsOfFour : kRowsOfSeven;
}

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx512vnni)) return r;
  return check_packed(a);
}
void run(const op::QConv2d& a, const ExecContext&) { run_direct(a, isa_for(a)); }
Tensor pack(const op::QConv2d& a) { return pack_direct(a, kIsa.lanes, kIsa.recode); }

}  // namespace

const Kernel<op::QConv2d> qconv2d_direct_avx512vnni{"own.direct.avx512vnni", kOwnInRegions, check, run, pack};

}  // namespace mininn::cpu::own
