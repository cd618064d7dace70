// Vector loops for the elementwise ops that are arithmetic only: f32, all operands dense in one memory order.
#pragma once

#include <vector>

#include "ops/elementwise.h"

namespace mininn::cpu::own {

// One kernel per op of a list for each instruction set, the widest first: own.flat.avx512, own.flat.avx2.
extern const PerOp<VectorUnaryOps, UnaryArgs> unary_avx512, unary_avx2;
extern const PerOp<VectorUnaryOps, UnaryGradArgs> unary_grad_avx512, unary_grad_avx2;
extern const PerOp<BinaryOps, BinaryArgs> binary_avx512, binary_avx2;
extern const PerOp<BinaryOps, BinaryGradArgs> binary_grad_a_avx512, binary_grad_a_avx2;
extern const PerOp<BinaryOps, BinaryGradArgs> binary_grad_b_avx512, binary_grad_b_avx2;
extern const PerOp<ScalarOps, ScalarArgs> scalar_avx512, scalar_avx2;

}  // namespace mininn::cpu::own
