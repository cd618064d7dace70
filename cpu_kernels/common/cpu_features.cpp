#include "cpu_kernels/common/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace mininn::cpu {
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

// Linux gives the tile registers only to processes that ask for them.
bool tiles_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}

struct Found {
  bool isa[int(Isa::amx) + 1] = {};
  bool& operator[](Isa i) { return isa[int(i)]; }
};

Found detect() {
  Found f;
  const CpuId l1(1, 0), l7(7, 0), l71(7, 1);
  if (!bit(l1.ecx, 27)) return f;  // no OSXSAVE: only SSE
  const uint32_t os = saved_registers();
  const bool os_avx = (os & 0x6) == 0x6;          // xmm, ymm
  const bool os_avx512 = (os & 0xe6) == 0xe6;     // also opmask, zmm0-15, zmm16-31
  const bool os_amx = (os & 0x60000) == 0x60000;  // tile configuration and data
  f[Isa::avx2] = os_avx && bit(l7.ebx, 5) && bit(l1.ecx, 12);
  f[Isa::avxvnni] = f[Isa::avx2] && bit(l71.eax, 4);
  f[Isa::avx512] =
      f[Isa::avx2] && os_avx512 && bit(l7.ebx, 16) && bit(l7.ebx, 30) && bit(l7.ebx, 31) && bit(l7.ebx, 17);
  f[Isa::avx512vnni] = f[Isa::avx512] && bit(l7.ecx, 11);
  f[Isa::avx512bf16] = f[Isa::avx512] && bit(l71.eax, 5);
  f[Isa::amx] = f[Isa::avx512bf16] && os_amx && bit(l7.edx, 22) && bit(l7.edx, 24) && bit(l7.edx, 25);
  return f;
}

}  // namespace

bool has(Isa isa) {
  static Found found = detect();
  return found[isa] && (isa != Isa::amx || tiles_permitted());
}

Refusal needs(Isa isa) {
  if (has(isa)) return {};
  switch (isa) {
    case Isa::avx2: return {"the processor has no AVX2 and FMA"};
    case Isa::avxvnni: return {"the processor has no AVX-VNNI"};
    case Isa::avx512: return {"the processor has no AVX-512"};
    case Isa::avx512vnni: return {"the processor has no AVX-512 VNNI"};
    case Isa::avx512bf16: return {"the processor has no AVX-512 BF16"};
    case Isa::amx: return {"the processor has no AMX, or the operating system does not permit it"};
  }
  return {"the processor is unknown"};
}

}  // namespace mininn::cpu
