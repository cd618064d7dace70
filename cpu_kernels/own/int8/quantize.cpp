#include "cpu_kernels/own/int8/quantize.h"

#include <algorithm>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/own/int8/requant.h"

namespace mininn::cpu::own {
namespace {

// x of n channels, `step` apart.
void span_scalar(const float* x, int64_t step, uint8_t* y, int64_t n, float scale, const CodeRange& range) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_code(x[i * step] / scale, range);
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

void span_avx2(const float* x, int64_t step, uint8_t* y, int64_t n, float scale, const CodeRange& range) {
  const __m256 lo = _mm256_set1_ps(range.lo), hi = _mm256_set1_ps(range.hi), s = _mm256_set1_ps(scale);
  const __m256i zero = _mm256_set1_epi32(range.zero);
  int64_t i = 0;
  if (step == 1)
    for (; i + 8 <= n; i += 8) {
      const __m256i codes = to_codes(_mm256_div_ps(_mm256_loadu_ps(x + i), s), lo, hi, zero);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), pack_codes(codes));
    }
  if (i < n) span_scalar(x + i * step, step, y + i, n - i, scale, range);
}

// n pixels of 4 bytes from up to four planes; `planes` beyond the channels are null and give zeros.
void interleave_planes(const uint8_t* const (&planes)[4], uint8_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m128i c[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k)
      c[k] = planes[k] ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(planes[k] + i)) : _mm_setzero_si128();
    const __m128i lo[2] = {_mm_unpacklo_epi8(c[0], c[1]), _mm_unpacklo_epi8(c[2], c[3])};
    const __m128i hi[2] = {_mm_unpackhi_epi8(c[0], c[1]), _mm_unpackhi_epi8(c[2], c[3])};
    auto* const to = reinterpret_cast<__m128i*>(y + 4 * i);
    _mm_storeu_si128(to, _mm_unpacklo_epi16(lo[0], lo[1]));
    _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(lo[0], lo[1]));
    _mm_storeu_si128(to + 2, _mm_unpacklo_epi16(hi[0], hi[1]));
    _mm_storeu_si128(to + 3, _mm_unpackhi_epi16(hi[0], hi[1]));
  }
  for (; i < n; ++i)
    for (int k = 0; k < 4; ++k) y[4 * i + k] = planes[k] ? planes[k][i] : uint8_t(0);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

using SpanFn = void (*)(const float*, int64_t, uint8_t*, int64_t, float, const CodeRange&);

template <SpanFn kSpan>
void run_quantize(const op::Quantize& a, const ExecContext&) {
  const CodeRange range = code_range(a.q.zero_point, 0, 255);
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    kSpan(a.x.as<float>() + pixel_offset(a.x.strides, n, h, w), a.x.strides[1],
          a.y.as<uint8_t>() + pixel_offset(a.y.strides, n, h, w), a.y.shape[1], a.q.scale, range);
  });
}

// Rows of planar images to pixels of four bytes.
void run_pack_planes(const op::QPack& a, const ExecContext&) {
  for_each_row(a.y.shape, [&](int64_t n, int64_t h) {
    const uint8_t* x = a.x.as<uint8_t>() + pixel_offset(a.x.strides, n, h, 0);
    const uint8_t* planes[4] = {};
    for (int64_t c = 0; c < a.y.shape[1]; ++c) planes[c] = x + c * a.x.strides[1];
    interleave_planes(planes, a.y.as<uint8_t>() + pixel_offset(a.y.strides, n, h, 0), a.y.shape[3]);
  });
}

Refusal check_pack_avx2(const op::QPack& a) {
  if (const Refusal r = needs(Isa::avx2)) return r;
  if (a.y.strides[3] != 4) return {"a pixel has not four bytes"};
  if (a.x.strides[3] != 1) return {"the input's rows have gaps"};
  return {};
}
Refusal check_avx2(const op::Quantize&) { return needs(Isa::avx2); }

}  // namespace

const Kernel<op::Quantize> quantize_avx2{"own.avx2", kOwnInRegions, check_avx2, run_quantize<span_avx2>};
const Kernel<op::QPack> qpack_avx2{"own.avx2", kOwnInRegions, check_pack_avx2, run_pack_planes};

}  // namespace mininn::cpu::own
