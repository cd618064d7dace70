// Target regions: code for one instruction set inside an ordinary translation unit.
//
//   #include ...                       // every include comes first
//   #include "cpu_kernels/common/isa.h"
//   MININN_TARGET_AVX512
//   namespace mininn::cpu::own { namespace { void kernel(...) { ... } } }
//   MININN_TARGET_END
//
// There are no per-file -m flags: they would also compile the inline functions of shared headers for that instruction
// set, and the linker may keep that copy for everybody. For the same reason everything in a region belongs into an
// anonymous namespace. What enters a region at run time must have asked needs() first (cpu_features.h).
#pragma once

#include <immintrin.h>

#define MININN_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define MININN_TARGET_BEGIN(features) \
  MININN_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define MININN_TARGET_END MININN_PRAGMA(clang attribute pop)
#else
// GCC 12's own intrinsics start from deliberately undefined vectors and warn about it once inlined (GCC bug 105593).
#define MININN_TARGET_BEGIN(features)                     \
  MININN_PRAGMA(GCC push_options)                         \
  MININN_PRAGMA(GCC target(features))                     \
  MININN_PRAGMA(GCC diagnostic push)                      \
  MININN_PRAGMA(GCC diagnostic ignored "-Wuninitialized") \
  MININN_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized")
#define MININN_TARGET_END MININN_PRAGMA(GCC diagnostic pop) MININN_PRAGMA(GCC pop_options)
#endif

#define MININN_TARGET_AVX2 MININN_TARGET_BEGIN("avx2,fma")
#define MININN_TARGET_AVXVNNI MININN_TARGET_BEGIN("avx2,fma,avxvnni")
#define MININN_TARGET_AVX512 MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")
#define MININN_TARGET_AVX512VNNI MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
// Processors with AMX have AVX-512's BF16 too.
#define MININN_TARGET_AMX \
  MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-int8,amx-bf16")
