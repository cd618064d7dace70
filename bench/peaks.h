// What this machine can do at best, right now: clocks drift, so peaks are measured beside what is compared with them.
#pragma once

namespace mininn::bench {

// Arithmetic peaks, all of num_threads() threads together, from register-only loops of a few milliseconds.
double peak_fma_gflops();  // fp32 fused multiply-adds, two operations each
double peak_dot_gmacs();   // int8 dot products (vpdpbusd); 0 where the processor has none
double copy_gb_per_s();    // bytes read plus bytes written by copying 256 MiB

}  // namespace mininn::bench
