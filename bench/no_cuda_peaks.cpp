#include "bench/cuda_peaks.h"

namespace mininn::bench {

double cuda_fma_gflops(Device) { return 0; }
double cuda_bf16_gflops(Device) { return 0; }
double cuda_int8_gmacs(Device) { return 0; }
double cuda_copy_gb_per_s(Device) { return 0; }

}  // namespace mininn::bench
