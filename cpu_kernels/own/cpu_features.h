// Which instruction sets this processor has and the operating system lets us use.
#pragma once

namespace mininn::cpu::own {

// The names match the target regions of isa.h: a kernel in a region may run where its flag is set.
struct CpuFeatures {
  bool avx2_fma = false;
  bool avx_vnni = false;     // implies avx2_fma
  bool avx512 = false;       // F, BW, VL and DQ; implies avx2_fma
  bool avx512_vnni = false;  // implies avx512
  bool avx512_bf16 = false;  // implies avx512
  bool amx_int8 = false;     // a process must also ask Linux for the tile registers (arch_prctl) before it uses them
};

// Found out once per process, by cpuid and xgetbv.
const CpuFeatures& cpu_features();

}  // namespace mininn::cpu::own
