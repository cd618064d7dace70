// The last step of a direct int8 convolution on 512-bit vectors: 16 accumulators of one pixel to codes (or f32).
#pragma once

#include "cpu_kernels/own/int8/conv/tile.h"
#include "cpu_kernels/own/int8/requant.h"

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {

// What turns accumulators into codes, in vectors that stay in registers. 64 codes are packed from four vectors of
// integers, which clamps them to 0..255; what is left is to clamp to the bounds, from above before the conversion,
// which must not overflow, and from below at the end.
struct ZmmCodes {
  __m512 lo, hi, residual_scale;
  __m512i zero, residual_zero;
  __m512i zero_words, least;  // for packed codes

  ZmmCodes(const CodeRange& range, float scale_of_residual, int32_t zero_of_residual)
      : lo(_mm512_set1_ps(range.lo)),
        hi(_mm512_set1_ps(range.hi)),
        residual_scale(_mm512_set1_ps(scale_of_residual)),
        zero(_mm512_set1_epi32(range.zero)),
        residual_zero(_mm512_set1_epi32(zero_of_residual)),
        zero_words(_mm512_set1_epi16(int16_t(range.zero))),
        least(_mm512_set1_epi8(char(int(range.lo) + range.zero))) {}

  static __m512 scaled(__m512i acc, __m512 multiplier) { return _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier); }
  // `residual`: its codes as 32-bit integers.
  __m512 scaled(__m512i acc, __m512 multiplier, __m512i residual) const {
    const __m512 r = _mm512_cvtepi32_ps(_mm512_sub_epi32(residual, residual_zero));
    return _mm512_fmadd_ps(r, residual_scale, scaled(acc, multiplier));
  }
  // 16 codes as 32-bit integers.
  __m512i codes(__m512 t) const { return to_codes(t, lo, hi, zero); }
  // For packed(). kPlain: codes are 0..255, zero is 0, and no value is beyond the range of int32; then packing does all
  // clamping. Else values are clamped from above; conversion turns what is below that range into its least value.
  template <bool kPlain = false>
  __m512i rounded(__m512 t) const {
    return _mm512_cvtps_epi32(kPlain ? t : _mm512_min_ps(t, hi));
  }
  // 64 codes. Packing works within 128-bit lanes: dword 4j+i holds those of dwords 4j..4j+3 of v[i].
  template <bool kPlain = false>
  __m512i packed(__m512i v0, __m512i v1, __m512i v2, __m512i v3) const {
    const __m512i low = _mm512_packs_epi32(v0, v1), high = _mm512_packs_epi32(v2, v3);
    if (kPlain) return _mm512_packus_epi16(low, high);
    return _mm512_max_epu8(_mm512_packus_epi16(_mm512_adds_epi16(low, zero_words), _mm512_adds_epi16(high, zero_words)),
                           least);
  }
  // The same, one vector's after the other.
  template <bool kPlain = false>
  __m512i sorted(__m512i v0, __m512i v1, __m512i v2, __m512i v3) const {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, packed<kPlain>(v0, v1, v2, v3));
  }
};

// The first `left` of 16 channels.
inline __mmask16 channel_mask(int64_t left) { return left >= 16 ? __mmask16(0xffff) : __mmask16((1u << left) - 1); }

inline __m512i widened(const uint8_t* codes, __mmask16 mask) {
  return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, codes));
}

// 16 accumulators, or those of the mask, to a pixel whose channels begin at y. No residual: null.
inline void store_channels(const ZmmCodes& to, __m512i acc, __m512 multiplier, __mmask16 mask, const uint8_t* residual,
                           bool f32, std::byte* y) {
  const __m512 t = residual ? to.scaled(acc, multiplier, widened(residual, mask)) : to.scaled(acc, multiplier);
  if (f32)
    _mm512_mask_storeu_ps(y, mask, t);
  else
    _mm512_mask_cvtepi32_storeu_epi8(y, mask, to.codes(t));
}

// The codes of two pixels, 32 channels each.
inline void store_halves(__m512i codes, std::byte* first, std::byte* second) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(first), _mm512_castsi512_si256(codes));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(second), _mm512_extracti64x4_epi64(codes, 1));
}

// The codes of four pixels, 16 channels each.
[[maybe_unused]] inline void store_quarters(__m512i codes, std::byte* y0, std::byte* y1, std::byte* y2, std::byte* y3) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y0), _mm512_castsi512_si128(codes));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y1), _mm512_extracti32x4_epi32(codes, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y2), _mm512_extracti32x4_epi32(codes, 2));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y3), _mm512_extracti32x4_epi32(codes, 3));
}

// For the block `v` of a call's channels.
struct ZmmEpilogue {
  const QTile& t;
  int64_t channel;
  __mmask16 mask;
  __m512 multiplier;
  ZmmCodes to;

  ZmmEpilogue(const QTile& tile, int v)
      : t(tile), channel(tile.channel + 16 * v), to(tile.range, tile.residual_scale, tile.residual_zero) {
    mask = channel_mask(t.channels - 16 * v);
    multiplier = _mm512_maskz_loadu_ps(mask, t.multiplier + channel);
  }

  // For sorted(). kResidual is t.has_residual: asked once for many pixels.
  template <bool kResidual>
  __m512i rounded(int p, __m512i acc) const {
    if constexpr (kResidual)
      return to.rounded(to.scaled(acc, multiplier, widened(t.residual[p] + channel, mask)));
    else
      return to.rounded(to.scaled(acc, multiplier));
  }
  void store(int p, __m512i acc) const {
    store_channels(to, acc, multiplier, mask, t.has_residual ? t.residual[p] + channel : nullptr, t.f32,
                   t.y[p] + channel * (t.f32 ? 4 : 1));
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
