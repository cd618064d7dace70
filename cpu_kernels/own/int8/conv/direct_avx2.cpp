// Direct int8 convolution on 256-bit vectors: four input channels of one pixel times those of eight output channels.
//
// AVX-VNNI has vpdpbusd, like the 512-bit kernel. Plain AVX2 has only vpmaddubsw, whose 16-bit sums of two u8*s8
// products saturate: 2*255*127 > 32767. It is exact all the same if the activations are re-coded to s8 by XOR 0x80 and
// their signs move over to the weights: |x| <= 128 and |w| <= 127 give at most 2*128*127 = 32512.
#include <cstddef>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/int8/conv/direct.h"
#include "cpu_kernels/own/int8/conv/epilogue_ymm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

inline __m256i broadcast_dword(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm256_set1_epi32(v);
}

namespace sign_trick {

struct X {
  __m256i value, magnitude;  // |-128| is 128 as u8
};
inline X load_x(const uint8_t* p) {
  const __m256i v = _mm256_xor_si256(broadcast_dword(p), _mm256_set1_epi8(char(0x80)));
  return {v, _mm256_abs_epi8(v)};
}
inline __m256i dot(__m256i acc, const X& x, __m256i w) {
  const __m256i pairs = _mm256_maddubs_epi16(x.magnitude, _mm256_sign_epi8(w, x.value));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#include "cpu_kernels/own/int8/conv/direct_ymm.inl"

}  // namespace sign_trick
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVXVNNI
namespace mininn::cpu::own {
namespace {
namespace vnni {

inline __m256i load_x(const uint8_t* p) { return broadcast_dword(p); }
inline __m256i dot(__m256i acc, __m256i x, __m256i w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
#include "cpu_kernels/own/int8/conv/direct_ymm.inl"

}  // namespace vnni
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// The accumulators, two vectors of weights and the temporaries of dot() fill the 16 registers: 4 x 2 tiles with the
// sign trick, 6 x 2 with VNNI.
QTileFn sign_trick_function(int pixels, int blocks) {
  using namespace sign_trick;
  static constexpr QTileFn one[] = {tile<1, 1>, tile<2, 1>, tile<4, 1>}, two[] = {tile<1, 2>, tile<2, 2>, tile<4, 2>};
  return (blocks == 1 ? one : two)[pixels > 2 ? 2 : pixels - 1];
}
QTileFn vnni_function(int pixels, int blocks) {
  using namespace vnni;
  static constexpr QTileFn one[] = {tile<1, 1>, tile<2, 1>, tile<4, 1>, tile<6, 1>};
  static constexpr QTileFn two[] = {tile<1, 2>, tile<2, 2>, tile<4, 2>, tile<6, 2>};
  return (blocks == 1 ? one : two)[pixels > 4 ? 3 : pixels > 2 ? 2 : pixels - 1];
}

constexpr QDirectIsa kAvx2{.lanes = 8,
                           .pixels = 4,
                           .blocks = 2,
                           .quantum = 4,
                           .weights_in_cache = int64_t{512} << 10,
                           .recode = 128,
                           .tile = sign_trick_function};
constexpr QDirectIsa kAvxVnni{.lanes = 8,
                              .pixels = 6,
                              .blocks = 2,
                              .quantum = 6,
                              .weights_in_cache = int64_t{512} << 10,
                              .recode = 0,
                              .tile = vnni_function};

Refusal check_avx2(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx2)) return r;
  return check_packed(a);
}
Refusal check_avxvnni(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avxvnni)) return r;
  return check_packed(a);
}
void run_avx2(const op::QConv2d& a, const ExecContext&) { run_direct(a, kAvx2); }
void run_avxvnni(const op::QConv2d& a, const ExecContext&) { run_direct(a, kAvxVnni); }
Tensor pack_avx2(const op::QConv2d& a) { return pack_direct(a, kAvx2.lanes, kAvx2.recode); }
Tensor pack_avxvnni(const op::QConv2d& a) { return pack_direct(a, kAvxVnni.lanes, kAvxVnni.recode); }

}  // namespace

const Kernel<op::QConv2d> qconv2d_direct_avx2{"own.direct.avx2", kOwnInRegions, check_avx2, run_avx2, pack_avx2};
const Kernel<op::QConv2d> qconv2d_direct_avxvnni{"own.direct.avxvnni", kOwnInRegions, check_avxvnni, run_avxvnni,
                                                 pack_avxvnni};

}  // namespace mininn::cpu::own
