// A vector of 16 floats, which in memory may be bf16.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/bf16_vectors.h"

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {

struct Vec {
  using T = __m512;
  using Mask = __mmask16;
  static constexpr int lanes = 16;

  static T zero() { return _mm512_setzero_ps(); }
  static T splat(float v) { return _mm512_set1_ps(v); }
  static T broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static T load(const float* p) { return _mm512_loadu_ps(p); }
  static T load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(float* p, T v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, T v, Mask m) { _mm512_mask_storeu_ps(p, m, v); }
  static T load(const bf16* p) { return floats_of(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static T load(const bf16* p, Mask m) { return floats_of(_mm256_maskz_loadu_epi16(m, p)); }
  static void store(bf16* p, T v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), bf16_of(v)); }
  static void store(bf16* p, T v, Mask m) { _mm256_mask_storeu_epi16(p, m, bf16_of(v)); }
  // The first n lanes, whose mask this is; see vec_avx2.h.
  template <class E>
  static void store_first(int64_t n, E* p, T v, Mask m) {
    n >= lanes ? store(p, v) : store(p, v, m);
  }
  // The first n lanes; all or none of them if n is out of range.
  static Mask mask(int64_t n) { return n >= lanes ? Mask(0xffff) : n <= 0 ? Mask(0) : Mask((1u << n) - 1); }
  static T fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static T add(T a, T b) { return _mm512_add_ps(a, b); }
  static T sub(T a, T b) { return _mm512_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm512_mul_ps(a, b); }
  static T relu(T v) { return _mm512_max_ps(zero(), v); }  // in this order NaN passes

  static void transpose(T (&r)[lanes]) {
    T t[lanes];
    for (int i = 0; i < lanes; i += 4) {  // 4x4 blocks inside each 128-bit lane
      const auto a = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
      const auto b = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
      const auto c = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
      const auto d = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
      t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
      t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
      t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
      t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; ++i) {  // then the 4x4 matrix of lanes
      const T a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
      const T c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
      r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
      r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
