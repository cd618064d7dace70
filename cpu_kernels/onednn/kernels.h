// The oneDNN backend: what cpu_kernels/register_*.cpp put into the kernel tables.
#pragma once

#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::onednn {

extern const Kernel<op::Conv2dFwd> conv2d_fwd;                 // f32, bf16
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data;        // f32, bf16
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights;  // f32, bf16
extern const Kernel<op::Matmul> matmul;                        // f32, bf16
extern const Kernel<op::BatchNormApply> batch_norm_apply;      // f32, bf16
extern const Kernel<op::BatchNormBwd> batch_norm_bwd;          // f32, bf16
extern const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd;          // f32, bf16
extern const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd;          // f32, bf16
extern const Kernel<op::QConv2d> qconv2d;                      // "onednn.s32", where oneDNN is exact

// How many primitives this thread has compiled, refusals included: lets a test see that they are cached.
int64_t programs_made();

}  // namespace mininn::cpu::onednn
