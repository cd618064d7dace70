// The products of an int8 convolution with vpdpbusd: one instruction multiplies four input channels of one pixel,
// broadcast as a dword, with those of 16 output channels and adds the four products to each.
#pragma once

#include <cstdint>

#include "cpu_kernels/own/isa.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

inline __m512i broadcast_dword(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}

// Adds the four values at each x[p] + offset times their weights of V blocks, `w_block` bytes apart.
template <int P, int V>
inline void add_dword(__m512i (&acc)[P][V], const uint8_t* const (&x)[P], int64_t offset, const int8_t* w,
                      int64_t w_block) {
  __m512i weights[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) weights[v] = _mm512_loadu_si512(w + v * w_block);
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
    const __m512i values = broadcast_dword(x[p] + offset);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[p][v] = _mm512_dpbusd_epi32(acc[p][v], values, weights[v]);
  }
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END
