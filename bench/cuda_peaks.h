// What a CUDA device can do at best, right now.
#pragma once

#include "core/device.h"

namespace mininn::bench {

// From register-only loops on the whole device: fused multiply-adds, and products of the instruction that own kernels
// are made of (mma.sync; sm_90 has a faster one, wgmma). All 0 in a build without CUDA.
double cuda_fma_gflops(Device d);
double cuda_bf16_gflops(Device d);
double cuda_int8_gmacs(Device d);
double cuda_copy_gb_per_s(Device d);  // bytes read plus bytes written, of 256 MiB

}  // namespace mininn::bench
