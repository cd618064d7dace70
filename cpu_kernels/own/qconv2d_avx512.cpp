// Direct int8 convolution with vpdpbusd (qconv2d_vnni_zmm.h).
//
// A tile is up to 8 pixels x 2 vectors of 16 output channels. Tiles within a row leave out the products of a row's
// first and last pixel that meet padding: so they have 7 pixels where rows are multiples of 7, and 4 x 4 vectors on
// maps of 4 columns, unless there are images enough for tiles across them. Pixel pointers stay in general registers, so
// any stride, dilation, border or jump to another image costs nothing inside the loop.
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_direct.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/qconv2d_vnni_zmm.h"

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
    for (int v = 0; v < V; ++v) weights[v] = _mm512_loadu_si512(w + i * 64 + v * w_block);
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

// Taps [first, end), of pixels [kBegin, kEnd).
template <int kBegin, int kEnd, int P, int V>
inline void add_taps(__m512i (&acc)[P][V], const QTile& t, int first, int end) {
  for (int tap = first; tap < end; ++tap) {
    const uint8_t* x[P];
#pragma GCC unroll 8
    for (int p = kBegin; p < kEnd; ++p) x[p] = t.x[tap * kTilePixels + p];
    const int8_t* w = t.w + t.tap_offset[tap];
    int64_t left = t.steps;
    for (; left >= 4; left -= 4) add_dwords<4, kBegin, kEnd>(acc, x, w, t.w_block);
    for (; left > 0; --left) add_dwords<1, kBegin, kEnd>(acc, x, w, t.w_block);
  }
}

template <int P, int V>
void tile(const QTile& t) {
  __m512i acc[P][V];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[p][v] = _mm512_loadu_si512(t.bias[p] + t.bias_channel + 16 * v);
  if constexpr (P >= 7) {
    const int not_last = t.taps - t.without_last, not_first = not_last - t.without_first;
    add_taps<0, P>(acc, t, 0, not_first);
    add_taps<1, P>(acc, t, not_first, not_last);
    add_taps<0, P - 1>(acc, t, not_last, t.taps);
  } else {
    add_taps<0, P>(acc, t, 0, t.taps);
  }
  if (V % 2 == 0 && P > 1 && t.channels == V * 16 && !t.f32) {
#pragma GCC unroll 2
    for (int v = 0; v + 1 < V; v += 2) {
      const ZmmEpilogue low(t, v), high(t, v + 1);
      // Those behind the last pixel to be stored repeat it.
#pragma GCC unroll 4
      for (int pair = 0; pair < P; pair += 2) {
        const int p = pair < P - 1 ? pair : P - 2;
        store_pair(low, high, p, acc[p][v], acc[p][v + 1], acc[p + 1][v], acc[p + 1][v + 1]);
      }
    }
    return;
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const ZmmEpilogue epilogue(t, v);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
      if (p < t.pixels) epilogue.store(p, acc[p][v]);
  }
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

QTileFn tile_function(int pixels, int blocks) {
  static constexpr QTileFn one[] = {tile<1, 1>, tile<2, 1>, tile<4, 1>, tile<7, 1>, tile<8, 1>};
  static constexpr QTileFn two[] = {tile<1, 2>, tile<2, 2>, tile<4, 2>, tile<7, 2>, tile<8, 2>};
  const int i = pixels > 7 ? 4 : pixels > 4 ? 3 : pixels > 2 ? 2 : pixels - 1;
  // Three and four blocks exist for tiles of kRowsOfFour only.
  return blocks == 4 ? tile<4, 4> : blocks == 3 ? tile<4, 3> : blocks == 2 ? two[i] : one[i];
}

constexpr QDirectIsa kIsa{.lanes = 16,
                          .pixels = 8,
                          .blocks = 2,
                          .quantum = 8,
                          .weights_in_cache = int64_t{512} << 10,
                          .recode = 0,
                          .tile = tile_function,
                          .skips_ends = true};
constexpr QDirectIsa kRowsOfFour = [] {
  QDirectIsa isa = kIsa;
  isa.pixels = isa.blocks = isa.quantum = 4;
  isa.skips_ends = false;  // what takes the time is reading weights
  return isa;
}();

constexpr QDirectIsa kRowsOfSeven = [] {
  QDirectIsa isa = kIsa;
  isa.pixels = isa.quantum = 7;
  return isa;
}();

const QDirectIsa& isa_for(const QConv2d& a) {
  if (a.g.pad_w == 0 || tiles_across_images(a, kIsa)) return kIsa;
  if (a.g.ow == kRowsOfFour.pixels) return kRowsOfFour;
  return a.g.ow % kIsa.pixels != 0 && a.g.ow % kRowsOfSeven.pixels == 0 ? kRowsOfSeven : kIsa;
}

Refusal check(const QConv2d& a) {
  if (!cpu_features().avx512_vnni) return {"the processor has no AVX-512 VNNI"};
  return check_direct(a);
}
void run(const QConv2d& a, const ExecContext&) { run_direct(a, isa_for(a)); }
Tensor pack(const QConv2d& a) { return pack_direct(a, kIsa.lanes, kIsa.recode); }

}  // namespace

const Kernel<QConv2d> qconv2d_direct_avx512vnni{"own.direct.avx512vnni", check, run, pack};

}  // namespace mininn::cpu::own
