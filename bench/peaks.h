// What this machine can do at best, right now: clocks drift, so peaks are measured beside what is compared with them.
#pragma once

#include "core/device.h"
#include "core/dtype.h"

namespace mininn::bench {

// Arithmetic peaks, all of num_threads() threads together, from register-only loops that run until two readings agree:
// some 20 milliseconds; 200 more after a change of the number of threads.
double peak_fma_gflops();  // fp32 fused multiply-adds, two operations each
// Exact int8 dot products u8 x s8 -> s32: the limit of a direct kernel. vpdpbusd where the processor has it, else the
// four AVX2 instructions that do the same work without saturating; 0 without AVX2.
double peak_dot_gmacs();
const char* peak_dot_instructions();  // what it measures, for headings
double copy_gb_per_s();               // bytes read plus bytes written by copying 256 MiB

// The same of a device. A CUDA device multiplies bf16 and int8 by the instruction that own kernels are made of
// (bench/cuda_peaks.h); on the CPU bf16 is measured against fp32, which every processor has.
double peak_float_gflops(Device d, DType activations);
double peak_int8_gmacs(Device d);

}  // namespace mininn::bench
