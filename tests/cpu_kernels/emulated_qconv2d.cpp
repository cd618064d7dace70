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
  Kernel<op::QConv2d> kernel = cpu::own::emulated;
  kernel.name = "own.strips.amx (emulated)";
  kernel.check = [](const op::QConv2d& a) {
    return check_but_for_amx<op::QConv2d>(cpu::own::emulated, a, cpu::Isa::avx512, cpu::own::check_shape);
  };
  return kernel;
}

}  // namespace mininn::testing
