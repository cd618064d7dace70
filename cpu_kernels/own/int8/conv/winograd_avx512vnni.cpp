// Exact Winograd convolution on 512-bit vectors: vpdpwssd multiplies 32 pairs of 16-bit integers and adds neighbours to
// an accumulator.
#include <array>
#include <cstring>
#include <utility>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/vnni_zmm.h"
#include "cpu_kernels/own/int8/conv/winograd.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = 16;
using Vec = __m512i;

class Epilogue {
 public:
  Epilogue(const QTile& t, int v) : block_(t, v) {
    block_.multiplier = _mm512_mul_ps(block_.multiplier, _mm512_set1_ps(1.0f / 64));
  }
  void store(int p, int count, const Vec (&sums)[4]) const {
    const QTile& t = block_.t;
    if (count < 4 || block_.mask != 0xffff || t.f32) {
      for (int i = 0; i < count; ++i) block_.store(p + i, sums[i]);
      return;
    }
    const Vec codes = t.has_residual ? sorted<true>(p, sums) : sorted<false>(p, sums);
    std::byte* const* const y = t.y + p;
    const int64_t c = block_.channel;
    store_quarters(codes, y[0] + c, y[1] + c, y[2] + c, y[3] + c);
  }

 private:
  template <bool kResidual>
  Vec sorted(int p, const Vec (&sums)[4]) const {
    return block_.to.sorted(block_.rounded<kResidual>(p, sums[0]), block_.rounded<kResidual>(p + 1, sums[1]),
                            block_.rounded<kResidual>(p + 2, sums[2]), block_.rounded<kResidual>(p + 3, sums[3]));
  }

  ZmmEpilogue block_;
};

inline Vec load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, Vec v) { _mm512_storeu_si512(p, v); }
inline Vec broadcast_pair(const int16_t* p) { return broadcast_dword(p); }
inline Vec load_codes_16(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load_codes_16(const uint8_t* p, int64_t n) {
  return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8((uint32_t{1} << n) - 1, p));
}
inline Vec load_weights_16(const int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec add16(Vec a, Vec b) { return _mm512_add_epi16(a, b); }
inline Vec sub16(Vec a, Vec b) { return _mm512_sub_epi16(a, b); }
inline Vec add32(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
inline Vec sub32(Vec a, Vec b) { return _mm512_sub_epi32(a, b); }
inline Vec mul32(Vec a, Vec b) { return _mm512_mullo_epi32(a, b); }
inline Vec splat32(int v) { return _mm512_set1_epi32(v); }
template <int kBits>
inline Vec shl16(Vec a) {
  return _mm512_slli_epi16(a, kBits);
}
template <int kFactor>
inline Vec mul16(Vec a) {
  return _mm512_mullo_epi16(a, _mm512_set1_epi16(kFactor));
}
template <int kBits>
inline Vec shl32(Vec a) {
  return _mm512_slli_epi32(a, kBits);
}
inline Vec dot(Vec acc, Vec x, Vec u) { return _mm512_dpwssd_epi32(acc, x, u); }

#include "cpu_kernels/own/int8/conv/winograd.inl"

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// 14 x 2 accumulators, two vectors of weights and one of input: 31 of 32 registers.
constexpr auto kProducts = products(std::make_integer_sequence<int, 14>());
constexpr WinogradIsa kIsa{.lanes = kLanes,
                           .channels = 2 * kLanes,
                           .tiles = int(kProducts.size()),
                           .cache = int64_t{1} << 20,
                           .input = input,
                           .filter = filter,
                           .product = kProducts.data(),
                           .output = output};

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx512vnni)) return r;
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
          [](const op::QConv2d& a) { return winograd_pays(a, kIsa, kWeights, 2); }};
}

}  // namespace

const Kernel<op::QConv2d> qconv2d_winograd_avx512vnni = kernel<WinogradWeights::stored>("own.winograd.avx512vnni");
const Kernel<op::QConv2d> qconv2d_winograd_s8_avx512vnni =
    kernel<WinogradWeights::on_the_fly>("own.winograd_s8.avx512vnni");

}  // namespace mininn::cpu::own
