// The input side of vpdpbusd and vpdpwssd: one instruction multiplies four u8 (or two s16) input channels of a pixel,
// broadcast as a dword, with those of 16 output channels and adds the products to each.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/isa.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

inline __m512i broadcast_dword(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
