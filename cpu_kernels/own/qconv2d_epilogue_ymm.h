// The last step of a direct int8 convolution on 256-bit vectors: 8 accumulators of one pixel to codes (or f32).
#pragma once

#include "cpu_kernels/own/qconv2d_direct.h"
#include "cpu_kernels/own/requant.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

// Lanes 0..count-1 as a mask of dwords.
[[maybe_unused]] inline __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// For the eight channels from 8 * v of a call's on, of which there is at least one.
struct YmmEpilogue {
  const QTile& t;
  int64_t channel, left;
  __m256i mask, zero, residual_zero;
  __m256 multiplier, lo, hi, residual_scale;

  YmmEpilogue(const QTile& tile, int64_t v) : t(tile), channel(tile.channel + 8 * v), left(tile.channels - 8 * v) {
    mask = first_lanes(left);
    multiplier = _mm256_maskload_ps(t.multiplier + channel, mask);
    lo = _mm256_set1_ps(t.range.lo);
    hi = _mm256_set1_ps(t.range.hi);
    zero = _mm256_set1_epi32(t.range.zero);
    residual_scale = _mm256_set1_ps(t.residual_scale);
    residual_zero = _mm256_set1_epi32(t.residual_zero);
  }

  void store(int p, __m256i acc) const {
    __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), multiplier);
    if (t.has_residual) {
      const __m256i r = load_codes(t.residual[p] + channel);
      y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(r, residual_zero)), residual_scale, y);
    }
    if (t.f32)
      _mm256_maskstore_ps(reinterpret_cast<float*>(t.y[p]) + channel, mask, y);
    else
      store_codes(t.y[p] + channel, to_codes(y, lo, hi, zero));
  }

 private:
  __m256i load_codes(const uint8_t* p) const {
    int64_t codes = 0;
    if (left >= 8)
      __builtin_memcpy(&codes, p, 8);
    else
      __builtin_memcpy(&codes, p, size_t(left));
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(codes));
  }
  void store_codes(std::byte* p, __m256i v) const {
    const int64_t codes = _mm_cvtsi128_si64(pack_codes(v));
    if (left >= 8)
      __builtin_memcpy(p, &codes, 8);
    else
      __builtin_memcpy(p, &codes, size_t(left));
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
