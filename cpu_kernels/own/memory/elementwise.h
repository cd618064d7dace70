// Vector loops for the elementwise ops that are arithmetic only: f32, or bf16 computed in float, all operands dense in
// one memory order.
#pragma once

#include <vector>

#include "core/memory_ops.h"
#include "ops/elementwise.h"

namespace mininn::cpu::own {

// One kernel per op of a list for each instruction set, the widest first: own.flat.avx512, own.flat.avx2.
extern const PerFunctor<op::VectorUnaryOps, op::UnaryFwd> unary_fwd_avx512, unary_fwd_avx2;
extern const PerFunctor<op::VectorUnaryOps, op::UnaryBwd> unary_bwd_avx512, unary_bwd_avx2;
extern const PerFunctor<op::BinaryOps, op::BinaryFwd> binary_fwd_avx512, binary_fwd_avx2;
extern const PerFunctor<op::BinaryOps, op::BinaryBwdA> binary_bwd_a_avx512, binary_bwd_a_avx2;
extern const PerFunctor<op::BinaryOps, op::BinaryBwdB> binary_bwd_b_avx512, binary_bwd_b_avx2;
extern const PerFunctor<op::ScalarOps, op::Scalar> scalar_avx512, scalar_avx2;
extern const PerFunctor<op::CurvedScalarOps, op::ScalarBwd> scalar_bwd_avx512, scalar_bwd_avx2;
extern const Kernel<op::Accumulate> accumulate_avx512, accumulate_avx2;

}  // namespace mininn::cpu::own
