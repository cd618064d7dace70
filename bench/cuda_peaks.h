// What a CUDA device can do at best, right now.
#pragma once

#include "core/device.h"

namespace mininn::bench {

// From register-only loops on the whole device: fused multiply-adds, and products of the instruction that own kernels
// are made of (mma.sync; sm_90 has a faster one, wgmma).
struct CudaPeaks {
  double fma_gflops = 0, bf16_gflops = 0, int8_gmacs = 0;
  double copy_gb_per_s = 0;  // bytes read plus bytes written, of 256 MiB
};
// All 0 in a build without CUDA.
CudaPeaks cuda_peaks(Device d);

}  // namespace mininn::bench
