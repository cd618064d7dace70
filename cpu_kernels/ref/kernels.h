// The reference kernels: plain loops over any strides, the last candidate of every list and the one that gradients are
// checked against. Floating kernels take f32, f64 and bf16, compute in double and round once, when they store.
#pragma once

#include "core/autograd.h"
#include "core/kernel.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/reduce.h"
#include "ops/softmax.h"

namespace mininn::cpu::ref {

extern const Kernel<Conv2dFwd> conv2d_fwd;
extern const Kernel<Conv2dBwdData> conv2d_bwd_data;
extern const Kernel<Conv2dBwdWeights> conv2d_bwd_weights;
extern const Kernel<Matmul> matmul;
extern const Kernel<MaxPool2dFwd> max_pool2d_fwd;
extern const Kernel<MaxPool2dBwd> max_pool2d_bwd;
extern const Kernel<AvgPool2dFwd> avg_pool2d_fwd;
extern const Kernel<AvgPool2dBwd> avg_pool2d_bwd;
extern const Kernel<BatchNormTrain> batch_norm_fwd_train;
extern const Kernel<BatchNormEval> batch_norm_fwd_eval;
extern const Kernel<BatchNormBwd> batch_norm_bwd;
extern const Kernel<SoftmaxFwd> softmax_fwd;
extern const Kernel<SoftmaxBwd> softmax_bwd;
extern const Kernel<CrossEntropyFwd> cross_entropy_fwd;
extern const Kernel<CrossEntropyBwd> cross_entropy_bwd;

extern const Kernel<Accumulate> accumulate;

// Elementwise ops, one kernel per functor. These compute f32 in f32: the operation itself is the definition.
extern const PerOp<UnaryOps, UnaryArgs> unary;
extern const PerOp<UnaryOps, UnaryGradArgs> unary_grad;
extern const PerOp<BinaryOps, BinaryArgs> binary;
extern const PerOp<BinaryOps, BinaryGradArgs> binary_grad_a, binary_grad_b;
extern const PerOp<ScalarOps, ScalarArgs> scalar;

extern const Kernel<CopyArgs> copy;  // every dtype
extern const Kernel<SumArgs> sum;
extern const Kernel<MaxArgs> amax;
extern const Kernel<MaxGradArgs> amax_grad;
extern const Kernel<DropoutArgs> dropout;
extern const Kernel<DropoutGradArgs> dropout_grad;

}  // namespace mininn::cpu::ref
