// What cpuid says, against what the compiler's own run-time check says.
#include "cpu_kernels/common/cpu_features.h"

#include "tests/support/catch.h"

namespace mininn {
namespace {

using cpu::has;
using cpu::Isa;
using cpu::needs;

TEST_CASE("CPU features agree with the compiler's own detection") {
  __builtin_cpu_init();
  const bool avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  CHECK(has(Isa::avx2) == avx2_fma);
  CHECK(has(Isa::avx512) == (avx2_fma && avx512));
  CHECK(has(Isa::avx512vnni) == (has(Isa::avx512) && __builtin_cpu_supports("avx512vnni")));
  CHECK(has(Isa::avx512bf16) == (has(Isa::avx512) && __builtin_cpu_supports("avx512bf16")));
}

TEST_CASE("an instruction set implies those that it builds on, and where there is none a kernel says so") {
  if (has(Isa::avxvnni) || has(Isa::avx512)) CHECK(has(Isa::avx2));
  if (has(Isa::avx512vnni) || has(Isa::avx512bf16) || has(Isa::amx)) CHECK(has(Isa::avx512));
  for (const Isa isa : {Isa::avx2, Isa::avxvnni, Isa::avx512, Isa::avx512vnni, Isa::avx512bf16, Isa::amx})
    CHECK(!needs(isa) == has(isa));
}

}  // namespace
}  // namespace mininn
