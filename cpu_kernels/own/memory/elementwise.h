// Vector loops for the elementwise ops that are arithmetic only: f32, or bf16 computed in float, all operands dense in
// one memory order.
#pragma once

#include "core/memory_ops.h"
#include "ops/elementwise_kernels.h"

namespace mininn::cpu::own {

// For each instruction set, the widest first: own.flat.avx512, own.flat.avx2.
extern const ElementwiseKernels<op::VectorUnaryOps> elementwise_avx512, elementwise_avx2;
extern const Kernel<op::Accumulate> accumulate_avx512, accumulate_avx2;

}  // namespace mininn::cpu::own
