#include "cpu_kernels/own/quantize.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/requant.h"

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

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// Calls body(n, h, w) for every pixel, in parallel.
template <class Body>
void for_each_pixel(const Shape& shape, const Body& body) {
  const int64_t h = shape[2], w = shape[3], rows = shape[0] * h;
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, w * shape[1]));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < w; ++j) body(i / h, i % h, j);
  });
}

int64_t at(const Strides& s, int64_t n, int64_t h, int64_t w) { return n * s[0] + h * s[2] + w * s[3]; }

using SpanFn = void (*)(const float*, int64_t, uint8_t*, int64_t, float, const CodeRange&);

template <SpanFn kSpan>
void run_quantize(const Quantize& a, const ExecContext&) {
  const CodeRange range = code_range(a.q.zero_point, 0, 255);
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    kSpan(a.x.as<float>() + at(a.x.strides, n, h, w), a.x.strides[1], a.y.as<uint8_t>() + at(a.y.strides, n, h, w),
          a.y.shape[1], a.q.scale, range);
  });
}

void run_pack(const QPack& a, const ExecContext&) {
  const int64_t channels = a.y.shape[1], step = a.x.strides[1], pixel = a.y.strides[3];
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = a.x.as<uint8_t>() + at(a.x.strides, n, h, w);
    uint8_t* y = a.y.as<uint8_t>() + at(a.y.strides, n, h, w);
    for (int64_t c = 0; c < channels; ++c) y[c] = x[c * step];
    for (int64_t c = channels; c < pixel; ++c) y[c] = 0;
  });
}

void run_dequantize(const Dequantize& a, const ExecContext&) {
  const int64_t channels = a.y.shape[1], step = a.y.strides[1];
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = a.x.as<uint8_t>() + at(a.x.strides, n, h, w);
    float* y = a.y.as<float>() + at(a.y.strides, n, h, w);
    for (int64_t c = 0; c < channels; ++c) y[c * step] = float(int32_t{x[c]} - a.q.zero_point) * a.q.scale;
  });
}

template <class Args>
Refusal check_scalar(const Args&) {
  return {};
}
Refusal check_avx2(const Quantize&) {
  return {cpu_features().avx2_fma ? nullptr : "the processor has no AVX2 and FMA"};
}

}  // namespace

const Kernel<Quantize> quantize_avx2{"own.avx2", check_avx2, run_quantize<span_avx2>};
const Kernel<Quantize> quantize_scalar{"own.scalar", check_scalar<Quantize>, run_quantize<span_scalar>};
const Kernel<QPack> qpack_scalar{"own.scalar", check_scalar<QPack>, run_pack};
const Kernel<Dequantize> dequantize_scalar{"own.scalar", check_scalar<Dequantize>, run_dequantize};

}  // namespace mininn::cpu::own
