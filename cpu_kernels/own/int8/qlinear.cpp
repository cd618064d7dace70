#include "cpu_kernels/own/int8/qlinear.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/isa.h"

namespace mininn::cpu::own {
namespace {

template <class X>
int32_t dot_scalar(const X* x, const int8_t* w, int64_t k) {
  int32_t acc = 0;
  for (int64_t i = 0; i < k; ++i) acc += int32_t(x[i]) * w[i];
  return acc;
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

inline __m256i load_x(const uint8_t* x) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}
inline __m256i load_x(const int32_t* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }

// Partial sums stay within int32 like the whole: check_qlinear bounds the sum of absolute products.
template <class X>
int32_t dot_avx2(const X* x, const int8_t* w, int64_t k) {
  __m256i acc = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 8 <= k; i += 8) {
    const __m256i wv = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w + i)));
    acc = _mm256_add_epi32(acc, _mm256_mullo_epi32(load_x(x + i), wv));
  }
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  return _mm_cvtsi128_si32(sum) + dot_scalar(x + i, w + i, k - i);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

template <class X, int32_t (*kDot)(const X*, const int8_t*, int64_t)>
void run_typed(const op::QLinear& a) {
  const int64_t k = a.x.shape[1], o = a.w.shape[0];
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, k));
  parallel_for(a.x.shape[0] * o, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i % o;
      const X* x = a.x.as<X>() + i / o * (a.x.dtype == DType::u8 ? a.x.strides[0] : k);
      const int32_t acc = a.bias.as<int32_t>()[at] + kDot(x, a.w.as<int8_t>() + at * k, k);
      a.y.as<float>()[i] = float(acc) * a.multiplier.as<float>()[at];
    }
  });
}

void run_avx2(const op::QLinear& a, const ExecContext&) {
  if (a.x.dtype == DType::u8)
    run_typed<uint8_t, dot_avx2<uint8_t>>(a);
  else
    run_typed<int32_t, dot_avx2<int32_t>>(a);
}

Refusal check_avx2(const op::QLinear&) { return needs(Isa::avx2); }

}  // namespace

const Kernel<op::QLinear> qlinear_avx2{"own.avx2", kOwnInRegions, check_avx2, run_avx2};

}  // namespace mininn::cpu::own
