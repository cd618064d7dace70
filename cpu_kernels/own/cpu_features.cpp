#include "cpu_kernels/own/cpu_features.h"

#include <cpuid.h>

#include <cstdint>

namespace mininn::cpu::own {
namespace {

struct CpuId {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;  // all zero where the leaf does not exist
  CpuId(uint32_t leaf, uint32_t subleaf) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

constexpr bool bit(uint32_t word, int i) { return (word >> i) & 1; }

// XCR0: the register files that the operating system saves on a context switch.
uint32_t saved_registers() {
  uint32_t lo, hi;
  __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return lo;
}

CpuFeatures detect() {
  CpuFeatures f;
  const CpuId l1(1, 0), l7(7, 0), l71(7, 1);
  if (!bit(l1.ecx, 27)) return f;  // no OSXSAVE: only SSE
  const uint32_t os = saved_registers();
  const bool os_avx = (os & 0x6) == 0x6;          // xmm, ymm
  const bool os_avx512 = (os & 0xe6) == 0xe6;     // also opmask, zmm0-15, zmm16-31
  const bool os_amx = (os & 0x60000) == 0x60000;  // tile configuration and data
  f.avx2_fma = os_avx && bit(l7.ebx, 5) && bit(l1.ecx, 12);
  f.avx_vnni = f.avx2_fma && bit(l71.eax, 4);
  f.avx512 = f.avx2_fma && os_avx512 && bit(l7.ebx, 16) && bit(l7.ebx, 30) && bit(l7.ebx, 31) && bit(l7.ebx, 17);
  f.avx512_vnni = f.avx512 && bit(l7.ecx, 11);
  f.avx512_bf16 = f.avx512 && bit(l71.eax, 5);
  f.amx_int8 = f.avx512 && os_amx && bit(l7.edx, 24) && bit(l7.edx, 25);
  return f;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace mininn::cpu::own
