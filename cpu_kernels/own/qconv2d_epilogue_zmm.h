// The last step of a direct int8 convolution on 512-bit vectors: 16 accumulators of one pixel to codes (or f32).
#pragma once

#include "cpu_kernels/own/qconv2d_direct.h"
#include "cpu_kernels/own/requant.h"

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {

// For the block `v` of a call's channels.
struct ZmmEpilogue {
  const QTile& t;
  int64_t channel;
  __mmask16 mask;
  __m512 multiplier, lo, hi, residual_scale;
  __m512i zero, residual_zero;

  ZmmEpilogue(const QTile& tile, int v) : t(tile), channel(tile.channel + 16 * v) {
    const int64_t left = t.channels - 16 * v;
    mask = left >= 16 ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
    multiplier = _mm512_maskz_loadu_ps(mask, t.multiplier + channel);
    lo = _mm512_set1_ps(t.range.lo);
    hi = _mm512_set1_ps(t.range.hi);
    zero = _mm512_set1_epi32(t.range.zero);
    residual_scale = _mm512_set1_ps(t.residual_scale);
    residual_zero = _mm512_set1_epi32(t.residual_zero);
  }

  void store(int p, __m512i acc) const {
    __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier);
    if (t.has_residual) {
      const __m512i r = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, t.residual[p] + channel));
      y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(r, residual_zero)), residual_scale, y);
    }
    if (t.f32)
      _mm512_mask_storeu_ps(reinterpret_cast<float*>(t.y[p]) + channel, mask, y);
    else
      _mm512_mask_cvtepi32_storeu_epi8(t.y[p] + channel, mask, to_codes(y, lo, hi, zero));
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
