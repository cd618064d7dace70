#include "tests/cpu_kernels/emulated_amx.h"

// All that the kernel's source includes comes before its tile instructions get another meaning.
#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/data_gradient.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/strips.h"
#include "cpu_kernels/own/float/conv2d/amx.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/vec_avx512.h"
#include "tests/cpu_kernels/emulated_tiles.h"

#define conv2d_fwd_amx emulated_fwd
#define conv2d_bwd_data_amx emulated_bwd_data
#include "cpu_kernels/own/float/conv2d/strips_amx.cpp"

namespace mininn::testing {

template <>
Kernel<op::Conv2dFwd> emulated_amx() {
  return emulated_kernel<op::Conv2dFwd, cpu::own::emulated_fwd, cpu::Isa::avx512bf16, cpu::own::check_shape>(
      "own.strips.amx (emulated)");
}

template <>
Kernel<op::Conv2dBwdData> emulated_amx() {
  return emulated_kernel<op::Conv2dBwdData, cpu::own::emulated_bwd_data, cpu::Isa::avx512bf16, cpu::own::check_shape>(
      "own.strips.amx (emulated)");
}

}  // namespace mininn::testing
