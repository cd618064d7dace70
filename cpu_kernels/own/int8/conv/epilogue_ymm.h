// The last step of a direct int8 convolution on 256-bit vectors: accumulators of 8 * V channels of a pixel to codes (or
// f32).
#pragma once

#include "cpu_kernels/own/int8/conv/tile.h"
#include "cpu_kernels/own/int8/requant.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

// The low bytes of 16 lanes that hold 0..255.
[[maybe_unused]] inline __m128i pack_codes(__m256i first, __m256i second) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(first, second), 0xd8);
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

// For the V vectors of eight channels from number `first` of a call's channels on, of which one at least exists.
template <int V>
struct YmmEpilogue {
  const QTile& t;
  const int64_t channel, left;
  const bool f32, has_residual;
  __m256i mask[V], zero, residual_zero;
  __m256 multiplier[V], lo, hi, residual_scale;

  YmmEpilogue(const QTile& tile, int64_t first)
      : t(tile), channel(tile.channel + first), left(tile.channels - first), f32(t.f32), has_residual(t.has_residual) {
    for (int v = 0; v < V; ++v) {
      mask[v] = _mm256_cmpgt_epi32(_mm256_set1_epi32(int(left) - 8 * v), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      multiplier[v] = _mm256_maskload_ps(t.multiplier + channel + 8 * v, mask[v]);
    }
    lo = _mm256_set1_ps(t.range.lo);
    hi = _mm256_set1_ps(t.range.hi);
    zero = _mm256_set1_epi32(t.range.zero);
    residual_scale = _mm256_set1_ps(t.residual_scale);
    residual_zero = _mm256_set1_epi32(t.residual_zero);
  }

  void store(int p, const __m256i (&acc)[V]) const {
    __m256 y[V];
    for (int v = 0; v < V; ++v) {
      y[v] = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), multiplier[v]);
      if (has_residual) {
        const __m256i r = _mm256_sub_epi32(load_codes(t.residual[p] + channel + 8 * v, left - 8 * v), residual_zero);
        y[v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(r), residual_scale, y[v]);
      }
    }
    if (f32) {
      for (int v = 0; v < V; ++v)
        _mm256_maskstore_ps(reinterpret_cast<float*>(t.y[p]) + channel + 8 * v, mask[v], y[v]);
      return;
    }
    std::byte* to = t.y[p] + channel;
    __m256i codes[V];
    for (int v = 0; v < V; ++v) codes[v] = to_codes(y[v], lo, hi, zero);
    if (V == 2 && left >= 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), pack_codes(codes[0], codes[V - 1]));
      return;
    }
    for (int v = 0; v < V; ++v) store_codes(to + 8 * v, left - 8 * v, pack_codes(codes[v]));
  }

 private:
  static __m256i load_codes(const uint8_t* p, int64_t count) {
    if (count >= 8) return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    int64_t codes = 0;
    if (count > 0) __builtin_memcpy(&codes, p, size_t(count));
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(codes));
  }
  static void store_codes(std::byte* p, int64_t count, __m128i v) {
    const int64_t codes = _mm_cvtsi128_si64(v);
    if (count >= 8)
      __builtin_memcpy(p, &codes, 8);
    else if (count > 0)
      __builtin_memcpy(p, &codes, size_t(count));
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
