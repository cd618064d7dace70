#include "cpu_kernels/own/int8/qadd.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/int8/requant.h"

namespace mininn::cpu::own {

// The constants of one call.
struct QAddSpan {
  int32_t a_zero, b_zero;
  float a_scale, b_scale;
  CodeRange range;
};

namespace {

void span_scalar(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n, const QAddSpan& s) {
  for (int64_t i = 0; i < n; ++i) {
    const float tb = float(int32_t{b[i]} - s.b_zero) * s.b_scale;
    y[i] = to_code(std::fmaf(float(int32_t{a[i]} - s.a_zero), s.a_scale, tb), s.range);
  }
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

// Eight codes as floats, minus their zero point.
inline __m256 centred(const uint8_t* p, __m256i zero) {
  const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, zero));
}

void span_avx2(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n, const QAddSpan& s) {
  const __m256i a_zero = _mm256_set1_epi32(s.a_zero), b_zero = _mm256_set1_epi32(s.b_zero);
  const __m256i y_zero = _mm256_set1_epi32(s.range.zero);
  const __m256 a_scale = _mm256_set1_ps(s.a_scale), b_scale = _mm256_set1_ps(s.b_scale);
  const __m256 lo = _mm256_set1_ps(s.range.lo), hi = _mm256_set1_ps(s.range.hi);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 tb = _mm256_mul_ps(centred(b + i, b_zero), b_scale);
    const __m256 t = _mm256_fmadd_ps(centred(a + i, a_zero), a_scale, tb);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), pack_codes(to_codes(t, lo, hi, y_zero)));
  }
  if (i < n) span_scalar(a + i, b + i, y + i, n - i, s);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {

inline __m512 centred(const uint8_t* p, __mmask16 mask, __m512i zero) {
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, p)), zero));
}

void span_avx512(const uint8_t* a, const uint8_t* b, uint8_t* y, int64_t n, const QAddSpan& s) {
  const __m512i a_zero = _mm512_set1_epi32(s.a_zero), b_zero = _mm512_set1_epi32(s.b_zero);
  const __m512i y_zero = _mm512_set1_epi32(s.range.zero);
  const __m512 a_scale = _mm512_set1_ps(s.a_scale), b_scale = _mm512_set1_ps(s.b_scale);
  const __m512 lo = _mm512_set1_ps(s.range.lo), hi = _mm512_set1_ps(s.range.hi);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = n - i >= 16 ? __mmask16(0xffff) : __mmask16((1u << (n - i)) - 1);
    const __m512 tb = _mm512_mul_ps(centred(b + i, mask, b_zero), b_scale);
    const __m512 t = _mm512_fmadd_ps(centred(a + i, mask, a_zero), a_scale, tb);
    _mm512_mask_cvtepi32_storeu_epi8(y + i, mask, to_codes(t, lo, hi, y_zero));
  }
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

Refusal check_avx2(const op::QAdd&) { return needs(Isa::avx2); }
Refusal check_avx512(const op::QAdd&) { return needs(Isa::avx512); }

using SpanFn = void (*)(const uint8_t*, const uint8_t*, uint8_t*, int64_t, const QAddSpan&);

template <SpanFn kSpan>
void run(const op::QAdd& q, const ExecContext&) {
  const QAddSpan s{q.a_zero, q.b_zero, q.a_scale, q.b_scale, code_range(q.y_zero, q.lo, q.hi)};
  const int64_t c = q.y.shape[1], ap = q.a.strides[3], bp = q.b.strides[3], yp = q.y.strides[3];
  const int64_t pixels = q.y.shape[0] * q.y.shape[2] * q.y.shape[3];
  const auto *a = q.a.as<uint8_t>(), *b = q.b.as<uint8_t>();
  auto* y = q.y.as<uint8_t>();
  const bool gapless = ap == c && bp == c && yp == c;  // then all pixels are one span
  parallel_for(pixels, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, c)), [&](int64_t begin, int64_t end) {
    if (gapless)
      kSpan(a + begin * c, b + begin * c, y + begin * c, (end - begin) * c, s);
    else
      for (int64_t i = begin; i < end; ++i) kSpan(a + i * ap, b + i * bp, y + i * yp, c, s);
  });
}

}  // namespace

const Kernel<op::QAdd> qadd_avx512{"own.avx512", kOwnInRegions, check_avx512, run<span_avx512>};
const Kernel<op::QAdd> qadd_avx2{"own.avx2", kOwnInRegions, check_avx2, run<span_avx2>};

}  // namespace mininn::cpu::own
