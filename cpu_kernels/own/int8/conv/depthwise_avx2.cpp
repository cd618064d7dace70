// Int8 depthwise convolution on 256-bit vectors: channels in lanes, two taps at a time.
//
// The codes of 16 channels under two taps are interleaved and widened to 16 bits, so that vpmaddwd multiplies both with
// their weights and adds the two products in 32 bits, which is exact. Packed weights: per block of 16 channels, per
// pair of taps: [16][2] s16; the missing second tap of an odd count is zeros.
#include <algorithm>
#include <utility>

#include "core/integers.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/taps.h"
#include "cpu_kernels/own/int8/conv/direct.h"
#include "cpu_kernels/own/int8/conv/epilogue_ymm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/packed.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = 16;
constexpr int64_t kPairBytes = kLanes * 2 * 2;

// 16 codes, or as many dwords of them as the mask has lanes: a pixel ends at a multiple of four bytes, no later.
template <bool kWhole>
inline __m128i load_channels(const uint8_t* p, __m128i mask) {
  if constexpr (kWhole) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_maskload_epi32(reinterpret_cast<const int*>(p), mask);
}

// The block of 16 channels number `b` of a call, or the last one with fewer.
template <int P, bool kWhole>
inline void block(const QTile& t, int64_t b) {
  const int64_t channel = t.channel + b * kLanes, left = t.channels - b * kLanes;
  const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32(int(ceil_div(left, 4))), _mm_setr_epi32(0, 1, 2, 3));
  __m256i acc[P][2];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v)
      acc[p][v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias[p] + t.bias_channel + b * kLanes + 8 * v));
  const int8_t* w = t.w + b * t.w_block;
  for (int tap = 0; tap < t.taps; tap += 2, w += kPairBytes) {
    const uint8_t* const* x = t.x + tap * kTilePixels;
    const uint8_t* const* second = tap + 1 < t.taps ? x + kTilePixels : x;
    const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const __m128i x0 = load_channels<kWhole>(x[p] + channel, mask);
      const __m128i x1 = load_channels<kWhole>(second[p] + channel, mask);
      const __m256i lo = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x0, x1));
      const __m256i hi = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(x0, x1));
      acc[p][0] = _mm256_add_epi32(acc[p][0], _mm256_madd_epi16(lo, w0));
      acc[p][1] = _mm256_add_epi32(acc[p][1], _mm256_madd_epi16(hi, w1));
    }
  }
  const YmmEpilogue<2> epilogue(t, b * kLanes);
  const int pixels = t.pixels;
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p)
    if (p < pixels) epilogue.store(p, acc[p]);
}

template <int P>
void tile(const QTile& t) {
  int64_t b = 0;
  for (; (b + 1) * kLanes <= t.channels; ++b) block<P, true>(t, b);
  if (b * kLanes < t.channels) block<P, false>(t, b);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

QTileFn tile_function(int pixels, int) {
  static constexpr QTileFn functions[] = {tile<1>, tile<2>, tile<4>};
  return functions[pixels > 2 ? 2 : pixels - 1];
}

// A call is all that many channels have: a tile's addresses serve all of them.
constexpr QDirectIsa kIsa{.lanes = kLanes,
                          .pixels = 4,
                          .blocks = 64,
                          .quantum = 4,
                          .weights_in_cache = int64_t{256} << 10,
                          .recode = 0,
                          .tile = tile_function,
                          .depthwise = true};

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx2)) return r;
  if (a.g.icg() != 1 || a.g.ocg() != 1) return {"the convolution is not depthwise"};
  if (a.g.kh * a.g.kw > kMaxTaps) return {"the kernel has more than 128 taps"};
  return {};
}

void run(const op::QConv2d& a, const ExecContext&) { run_direct(a, kIsa); }

Tensor pack(const op::QConv2d& a) {
  const int64_t taps = a.g.kh * a.g.kw, w_block = (taps + 1) / 2 * kPairBytes;
  QPacking packing = pack_bias_rows(a, 1, kLanes, w_block, kIsa.recode);
  const auto* w = a.w.as<int8_t>();
  for (int64_t o = 0; o < a.g.oc; ++o) {
    auto* block = reinterpret_cast<int16_t*>(packing.w + o / kLanes * w_block);
    for (int64_t t = 0; t < taps; ++t) block[(t / 2 * kLanes + o % kLanes) * 2 + t % 2] = w[o * taps + t];
  }
  return std::move(packing.buffer);
}

}  // namespace

const Kernel<op::QConv2d> qconv2d_depthwise_avx2{"own.depthwise.avx2", kOwnInRegions, check, run, pack};

}  // namespace mininn::cpu::own
