// What cpuid says, against what the compiler's own run-time check says.
#include "cpu_kernels/own/cpu_features.h"

#include "tests/support/catch.h"

namespace mininn {
namespace {

using cpu::own::cpu_features;

TEST_CASE("CPU features agree with the compiler's own detection") {
  __builtin_cpu_init();
  const bool avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  CHECK(cpu_features().avx2_fma == avx2_fma);
  CHECK(cpu_features().avx512 == (avx2_fma && avx512));
  CHECK(cpu_features().avx512_vnni == (cpu_features().avx512 && __builtin_cpu_supports("avx512vnni")));
  CHECK(cpu_features().avx512_bf16 == (cpu_features().avx512 && __builtin_cpu_supports("avx512bf16")));
}

TEST_CASE("a CPU feature implies those that it builds on") {
  const auto& f = cpu_features();
  if (f.avx_vnni || f.avx512) CHECK(f.avx2_fma);
  if (f.avx512_vnni || f.avx512_bf16 || f.amx_int8) CHECK(f.avx512);
  CHECK(&f == &cpu_features());
}

}  // namespace
}  // namespace mininn
