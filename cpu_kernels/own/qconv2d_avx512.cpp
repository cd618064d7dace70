// Direct int8 convolution with vpdpbusd (qconv2d_vnni_zmm.h).
//
// A tile is up to 8 pixels x 2 vectors of 16 output channels; or 4 x 4 on maps of 4 columns, where taps on padding are
// the same for a whole row, unless there are images enough for tiles across them. Pixel pointers stay in general
// registers, so any stride, dilation, border or jump to another image costs nothing inside the loop.
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_direct.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/qconv2d_vnni_zmm.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

// Adds the next four times kDwords values of each pixel times their weights of V blocks, `w_block` bytes apart.
template <int kDwords, int P, int V>
inline void add_dwords(__m512i (&acc)[P][V], const uint8_t* (&x)[P], const int8_t*& w, int64_t w_block) {
#pragma GCC unroll 4
  for (int i = 0; i < kDwords; ++i) {
    __m512i weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weights[v] = _mm512_loadu_si512(w + i * 64 + v * w_block);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const __m512i values = broadcast_dword(x[p] + i * 4);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[p][v] = _mm512_dpbusd_epi32(acc[p][v], values, weights[v]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) x[p] += kDwords * 4;
  w += kDwords * 64;
}

template <int P, int V>
void tile(const QTile& t) {
  __m512i acc[P][V];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[p][v] = _mm512_loadu_si512(t.bias[p] + t.bias_channel + 16 * v);
  for (int tap = 0; tap < t.taps; ++tap) {
    const uint8_t* x[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) x[p] = t.x[tap * kTilePixels + p];
    const int8_t* w = t.w + t.tap_offset[tap];
    int64_t left = t.steps;
    for (; left >= 4; left -= 4) add_dwords<4>(acc, x, w, t.w_block);
    for (; left > 0; --left) add_dwords<1>(acc, x, w, t.w_block);
  }
  if (V % 2 == 0 && P > 1 && t.channels == V * 16 && !t.f32) {
#pragma GCC unroll 2
    for (int v = 0; v + 1 < V; v += 2) {
      const ZmmEpilogue low(t, v), high(t, v + 1);
      // Those behind the last pixel to be stored repeat it.
#pragma GCC unroll 4
      for (int p = 0; p + 1 < P; p += 2)
        store_pair(low, high, p, acc[p][v], acc[p][v + 1], acc[p + 1][v], acc[p + 1][v + 1]);
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
  static constexpr QTileFn one[] = {tile<1, 1>, tile<2, 1>, tile<4, 1>, tile<8, 1>};
  static constexpr QTileFn two[] = {tile<1, 2>, tile<2, 2>, tile<4, 2>, tile<8, 2>};
  const int i = pixels > 4 ? 3 : pixels > 2 ? 2 : pixels - 1;
  // Three and four blocks exist for tiles of kRowsOfFour only.
  return blocks == 4 ? tile<4, 4> : blocks == 3 ? tile<4, 3> : blocks == 2 ? two[i] : one[i];
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
  isa.pixels = isa.blocks = isa.quantum = 4;
  return isa;
}();

Refusal check(const QConv2d& a) {
  if (!cpu_features().avx512_vnni) return {"the processor has no AVX-512 VNNI"};
  return check_direct(a);
}
void run(const QConv2d& a, const ExecContext&) {
  run_direct(a, a.g.ow == kRowsOfFour.pixels && a.g.n < kIsa.pixels ? kRowsOfFour : kIsa);
}
Tensor pack(const QConv2d& a) { return pack_direct(a, kIsa.lanes, kIsa.recode); }

}  // namespace

const Kernel<QConv2d> qconv2d_direct_avx512vnni{"own.direct.avx512vnni", check, run, pack};

}  // namespace mininn::cpu::own
