// Exact Winograd convolution on 256-bit vectors: vpmaddwd multiplies 16 pairs and adds neighbours, exactly.
#include <array>
#include <cstring>
#include <utility>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/int8/conv/epilogue_ymm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/winograd.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = 8;
using Vec = __m256i;
class Epilogue {
 public:
  Epilogue(const QTile& t, int v) : vector_(t, kLanes * v) {
    vector_.multiplier[0] = _mm256_mul_ps(vector_.multiplier[0], _mm256_set1_ps(1.0f / 64));
  }
  void store(int p, int count, const Vec (&sums)[4]) const {
    for (int i = 0; i < count; ++i) vector_.store(p + i, {sums[i]});
  }

 private:
  YmmEpilogue<1> vector_;
};

inline Vec load(const void* p) { return _mm256_loadu_si256(static_cast<const Vec*>(p)); }
inline void store(void* p, Vec v) { _mm256_storeu_si256(static_cast<Vec*>(p), v); }
inline Vec broadcast_pair(const int16_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm256_set1_epi32(v);
}
inline Vec load_codes_16(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load_codes_16(const uint8_t* p, int64_t n) {
  uint8_t codes[16] = {};
  __builtin_memcpy(codes, p, size_t(n));
  return load_codes_16(codes);
}
inline Vec load_weights_16(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec add16(Vec a, Vec b) { return _mm256_add_epi16(a, b); }
inline Vec sub16(Vec a, Vec b) { return _mm256_sub_epi16(a, b); }
inline Vec add32(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
inline Vec sub32(Vec a, Vec b) { return _mm256_sub_epi32(a, b); }
inline Vec mul32(Vec a, Vec b) { return _mm256_mullo_epi32(a, b); }
inline Vec splat32(int v) { return _mm256_set1_epi32(v); }
template <int kBits>
inline Vec shl16(Vec a) {
  return _mm256_slli_epi16(a, kBits);
}
template <int kFactor>
inline Vec mul16(Vec a) {
  return _mm256_mullo_epi16(a, _mm256_set1_epi16(kFactor));
}
template <int kBits>
inline Vec shl32(Vec a) {
  return _mm256_slli_epi32(a, kBits);
}
inline Vec dot(Vec acc, Vec x, Vec u) { return _mm256_add_epi32(acc, _mm256_madd_epi16(x, u)); }

#include "cpu_kernels/own/int8/conv/winograd.inl"

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// 6 x 2 accumulators, two vectors of weights, one of input and one product: 16 registers.
constexpr auto kProducts = products(std::make_integer_sequence<int, 6>());
constexpr WinogradIsa kIsa{.lanes = kLanes,
                           .channels = 2 * kLanes,
                           .tiles = int(kProducts.size()),
                           .cache = int64_t{512} << 10,
                           .input = input,
                           .filter = filter,
                           .product = kProducts.data(),
                           .output = output};

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx2)) return r;
  return check_winograd(a);
}
template <WinogradWeights kWeights>
constexpr Kernel<op::QConv2d> kernel(std::string_view name) {
  return {name,
          kOwnInRegions,
          check,
          [](const op::QConv2d& a, const ExecContext&) { run_winograd(a, kIsa, kWeights); },
          [](const op::QConv2d& a) { return pack_winograd(a, kIsa, kWeights); },
          winograd_admits,
          [](const op::QConv2d& a) { return winograd_pays(a, kIsa, kWeights, 1); }};
}

}  // namespace

const Kernel<op::QConv2d> qconv2d_winograd_avx2 = kernel<WinogradWeights::stored>("own.winograd.avx2");
const Kernel<op::QConv2d> qconv2d_winograd_s8_avx2 = kernel<WinogradWeights::on_the_fly>("own.winograd_s8.avx2");

}  // namespace mininn::cpu::own
