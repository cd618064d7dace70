// From an int32 accumulator to an output code: the arithmetic of ops/qconv2d.h.
//
//   t = fl32(acc) * multiplier;  t = fmaf(float(residual - residual_zero), residual_scale, t);
//   code = rne(min(max(t, lo - zero), hi - zero)) + zero
//
// Every form of it (cpu_kernels/own/int8/requant.h has those of instruction sets) gives the same bits: conversion,
// multiplication, fused multiply-add and rounding are IEEE operations, the rounding mode is the default one (to nearest
// even), and t is clamped before it is converted, so no conversion overflows. (Where values are packed to bytes, only
// from above: the conversion turns what is below the range of int32 into its least value.)
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/functors.h"

namespace mininn {

// The output side of an int8 op.
struct CodeRange {
  float lo, hi;  // bounds minus zero
  int32_t zero;
};

MININN_FN CodeRange code_range(int32_t zero, int32_t lo, int32_t hi) {
  return {float(lo - zero), float(hi - zero), zero};
}

// The order of comparisons is that of vmaxps and vminps: NaN becomes lo.
MININN_FN uint8_t to_code(float t, const CodeRange& r) {
  t = t > r.lo ? t : r.lo;
  t = t < r.hi ? t : r.hi;
#ifdef __CUDA_ARCH__
  return uint8_t(__float2int_rn(t) + r.zero);  // the same; lrintf() makes 64 bits there
#else
  return uint8_t(int32_t(std::lrintf(t)) + r.zero);
#endif
}

}  // namespace mininn
