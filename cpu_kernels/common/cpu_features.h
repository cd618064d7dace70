// Which instruction sets this processor has and the operating system lets us use.
#pragma once

#include "core/kernel.h"

namespace mininn::cpu {

// The names match the target regions of isa.h: a kernel in a region may run where the processor has it. Those behind
// avx2 imply it, those behind avx512 imply that.
enum class Isa {
  avx2,  // and FMA
  avxvnni,
  avx512,  // F, BW, VL and DQ
  avx512vnni,
  avx512bf16,
  amx,  // int8 and bf16, beside avx512bf16; Linux gives a process the tile registers when amx is first asked for
};

// Found out once per process, by cpuid, xgetbv and arch_prctl.
bool has(Isa isa);

// Why a kernel that needs it does not run here; empty where it does.
Refusal needs(Isa isa);

}  // namespace mininn::cpu
