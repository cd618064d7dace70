// The scalar, AVX2 and AVX-512 forms of the requantization against each other and against double arithmetic.
#include "cpu_kernels/own/int8/requant.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_kernels/common/cpu_features.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::cpu;
using namespace mininn::cpu::own;

namespace {

constexpr int32_t kLast = 1 << 17;  // accumulators -kLast .. kLast
constexpr int32_t kCount = 2 * kLast + 1;

void all_scalar(float multiplier, const CodeRange& range, uint8_t* y) {
  for (int32_t i = 0; i < kCount; ++i) y[i] = to_code(float(i - kLast) * multiplier, range);
}

}  // namespace

MININN_TARGET_AVX2
namespace {
void all_avx2(float multiplier, const CodeRange& range, uint8_t* y) {
  const __m256 m = _mm256_set1_ps(multiplier), lo = _mm256_set1_ps(range.lo), hi = _mm256_set1_ps(range.hi);
  const __m256i zero = _mm256_set1_epi32(range.zero), lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int32_t i = 0; i < kCount; i += 8) {
    const __m256i acc = _mm256_add_epi32(_mm256_set1_epi32(i - kLast), lane);
    const __m256i codes = to_codes(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), m), lo, hi, zero);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y + i), pack_codes(codes));
  }
}
}  // namespace
MININN_TARGET_END

MININN_TARGET_AVX512
namespace {
void all_avx512(float multiplier, const CodeRange& range, uint8_t* y) {
  const __m512 m = _mm512_set1_ps(multiplier), lo = _mm512_set1_ps(range.lo), hi = _mm512_set1_ps(range.hi);
  const __m512i zero = _mm512_set1_epi32(range.zero);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int32_t i = 0; i < kCount; i += 16) {
    const __m512i acc = _mm512_add_epi32(_mm512_set1_epi32(i - kLast), lane);
    const __m512i codes = to_codes(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), m), lo, hi, zero);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm512_cvtepi32_epi8(codes));
  }
}
}  // namespace
MININN_TARGET_END

TEST_CASE("all forms of the requantization round every accumulator alike, ties to even") {
  std::vector<uint8_t> scalar(kCount + 16), other(kCount + 16);
  for (int i = 0; i < 64; ++i) {
    // 2^-10 and its odd multiples make exact ties; the others are like real multipliers, 1 saturates at once.
    const float multiplier = i == 63 ? 1.0f : i < 16 ? float(2 * i + 1) / 2048.0f : float(i) * 1.2345678e-4f;
    const int32_t zero = (i * 37) % 256, lo = i % 3 == 0 ? zero : i % 5, hi = std::max(lo, 255 - i % 7);
    const CodeRange range = code_range(zero, lo, hi);
    all_scalar(multiplier, range, scalar.data());
    bool right = true;
    for (int32_t j = 0; j < kCount; ++j) {
      const double t = double(float(j - kLast) * multiplier);
      right &= scalar[size_t(j)] == std::min(std::max(std::nearbyint(t) + zero, double(lo)), double(hi));
    }
    INFO("multiplier " << multiplier << " zero " << zero << " bounds " << lo << ".." << hi);
    CHECK(right);
    if (has(Isa::avx2)) {
      all_avx2(multiplier, range, other.data());
      CHECK(std::equal(scalar.begin(), scalar.begin() + kCount, other.begin()));
    }
    if (has(Isa::avx512)) {
      all_avx512(multiplier, range, other.data());
      CHECK(std::equal(scalar.begin(), scalar.begin() + kCount, other.begin()));
    }
  }
  CHECK(to_code(2.5f, code_range(0, 0, 255)) == 2);
  CHECK(to_code(3.5f, code_range(0, 0, 255)) == 4);
  CHECK(to_code(-2.5f, code_range(10, 0, 255)) == 8);
}
