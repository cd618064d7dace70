#include "tests/cpu_kernels/emulated_amx.h"

// All that the kernel's source includes comes before its tile instructions get another meaning.
#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"
#include "cpu_kernels/own/float/conv2d/amx.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/vec_avx512.h"
#include "tests/cpu_kernels/emulated_tiles.h"

#define conv2d_bwd_weights_amx emulated_bwd_weights
#include "cpu_kernels/own/float/conv2d/weight_gradient_amx.cpp"

namespace mininn::testing {

template <>
Kernel<op::Conv2dBwdWeights> emulated_amx() {
  return emulated_kernel<op::Conv2dBwdWeights, cpu::own::emulated_bwd_weights, cpu::Isa::avx512, cpu::own::check_shape>(
      "own.images.amx (emulated)");
}

}  // namespace mininn::testing
