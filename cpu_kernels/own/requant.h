// From an int32 accumulator to an output code: the arithmetic of ops/qconv2d.h, in the form of each instruction set.
//
//   t = fl32(acc) * multiplier;  t = fmaf(float(residual - residual_zero), residual_scale, t);
//   code = rne(min(max(t, lo - zero), hi - zero)) + zero
//
// All forms give the same bits: conversion, multiplication, fused multiply-add and rounding are IEEE operations, the
// rounding mode is the default one (to nearest even), and t is clamped before it is converted, so no conversion
// overflows. (Where values are packed to bytes, only from above: the conversion turns what is below the range of int32
// into its least value.)
#pragma once

#include <cmath>
#include <cstdint>

#include "cpu_kernels/own/isa.h"

namespace mininn::cpu::own {
// The output side of an int8 op.
struct CodeRange {
  float lo, hi;  // bounds minus zero
  int32_t zero;
};

namespace {

[[maybe_unused]] inline CodeRange code_range(int32_t zero, int32_t lo, int32_t hi) {
  return {float(lo - zero), float(hi - zero), zero};
}

// The order of comparisons is that of vmaxps and vminps: NaN becomes lo.
[[maybe_unused]] inline uint8_t to_code(float t, const CodeRange& r) {
  t = t > r.lo ? t : r.lo;
  t = t < r.hi ? t : r.hi;
  return uint8_t(int32_t(std::lrintf(t)) + r.zero);
}

}  // namespace

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
