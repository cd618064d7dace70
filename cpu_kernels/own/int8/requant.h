// The last steps from an accumulator to a code (ops/requant.h) in the form of each instruction set.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/isa.h"
#include "ops/requant.h"

namespace mininn::cpu::own {

MININN_TARGET_AVX2
namespace {

// Eight codes as the low bytes of the eight lanes.
[[maybe_unused]] inline __m256i to_codes(__m256 t, __m256 lo, __m256 hi, __m256i zero) {
  return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(t, lo), hi)), zero);
}

// The low bytes of eight lanes that hold 0..255.
[[maybe_unused]] inline __m128i pack_codes(__m256i v) {
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_packus_epi16(words, words);
}

}  // namespace
MININN_TARGET_END

MININN_TARGET_AVX512
namespace {

[[maybe_unused]] inline __m512i to_codes(__m512 t, __m512 lo, __m512 hi, __m512i zero) {
  return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(t, lo), hi)), zero);
}

}  // namespace
MININN_TARGET_END

}  // namespace mininn::cpu::own
