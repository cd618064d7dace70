#include "tests/cpu_kernels/emulated_amx.h"

// All that the kernel's source includes comes before its tile instructions get another meaning.
#include <algorithm>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/strips.h"
#include "tests/cpu_kernels/emulated_tiles.h"

#define qconv2d_strips_amx emulated
#include "cpu_kernels/own/int8/conv/strips_amx.cpp"

namespace mininn::testing {

template <>
Kernel<op::QConv2d> emulated_amx() {
  return emulated_kernel<op::QConv2d, cpu::own::emulated, cpu::Isa::avx512, cpu::own::check_shape>(
      "own.strips.amx (emulated)");
}

}  // namespace mininn::testing
