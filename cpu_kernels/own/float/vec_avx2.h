// A vector of 8 floats, which in memory may be bf16.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/bf16_vectors.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

struct Vec {
  using T = __m256;
  using Mask = __m256i;
  static constexpr int lanes = 8;

  static T zero() { return _mm256_setzero_ps(); }
  static T splat(float v) { return _mm256_set1_ps(v); }
  static T broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static T load(const float* p) { return _mm256_loadu_ps(p); }
  static T load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
  static void store(float* p, T v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, T v, Mask m) { _mm256_maskstore_ps(p, m, v); }
  static T load(const bf16* p) { return floats_of(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static T load(const bf16* p, Mask m) {
    const int n = count(m);
    if (n == lanes) return load(p);
    bf16 first[lanes] = {};
    for (int i = 0; i < n; ++i) first[i] = p[i];
    return load(first);
  }
  static void store(bf16* p, T v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bf16_of(v)); }
  static void store(bf16* p, T v, Mask m) {
    bf16 all[lanes];
    store(all, v);
    for (int i = 0, n = count(m); i < n; ++i) p[i] = all[i];
  }
  // The first n lanes, whose mask this is; without it where all are meant: masked stores are slow (AVX2).
  template <class E>
  static void store_first(int64_t n, E* p, T v, Mask m) {
    n >= lanes ? store(p, v) : store(p, v, m);
  }
  // The first n lanes; all or none of them if n is out of range.
  static Mask mask(int64_t n) {
    const int count = n >= lanes ? lanes : n <= 0 ? 0 : int(n);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static int count(Mask m) { return __builtin_popcount(unsigned(_mm256_movemask_ps(_mm256_castsi256_ps(m)))); }
  static T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  static T add(T a, T b) { return _mm256_add_ps(a, b); }
  static T sub(T a, T b) { return _mm256_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm256_mul_ps(a, b); }
  static T relu(T v) { return _mm256_max_ps(zero(), v); }  // in this order NaN passes

  static void transpose(T (&r)[lanes]) {
    T t[lanes];
    for (int i = 0; i < lanes; i += 4) {  // 4x4 blocks inside each 128-bit lane
      const auto a = _mm256_castps_pd(_mm256_unpacklo_ps(r[i], r[i + 1]));
      const auto b = _mm256_castps_pd(_mm256_unpackhi_ps(r[i], r[i + 1]));
      const auto c = _mm256_castps_pd(_mm256_unpacklo_ps(r[i + 2], r[i + 3]));
      const auto d = _mm256_castps_pd(_mm256_unpackhi_ps(r[i + 2], r[i + 3]));
      t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
      t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
      t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
      t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; ++i) {  // then the 2x2 matrix of lanes
      r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
  }
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
