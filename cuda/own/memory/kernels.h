// Kernels of what memory bounds, for any sizes and strides.
#pragma once

#include "core/kernel.h"
#include "core/memory_ops.h"
#include "ops/augment.h"
#include "ops/batch_norm.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/elementwise_kernels.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"
#include "ops/reduce.h"
#include "ops/softmax.h"

namespace mininn::cuda::own {

extern const Kernel<op::Copy> copy;  // every dtype
extern const Kernel<op::Fill> fill;  // every dtype
extern const Kernel<op::Accumulate> accumulate;

extern const ElementwiseKernels<> elementwise;  // the bits of the CPU's in f32 and bf16

extern const Kernel<op::Augment> augment;
extern const Kernel<op::DropoutFwd> dropout_fwd;
extern const Kernel<op::DropoutBwd> dropout_bwd;
extern const Kernel<op::SgdUpdate> sgd_update;
extern const Kernel<op::AdamUpdate> adam_update;

extern const Kernel<op::Sum> sum;
extern const Kernel<op::AmaxFwd> amax_fwd;
extern const Kernel<op::AmaxBwd> amax_bwd;
extern const Kernel<op::SoftmaxFwd> softmax_fwd;
extern const Kernel<op::SoftmaxBwd> softmax_bwd;
extern const Kernel<op::CrossEntropyFwd> cross_entropy_fwd;
extern const Kernel<op::CrossEntropyBwd> cross_entropy_bwd;

extern const Kernel<op::BatchNormMoments> batch_norm_moments;
extern const Kernel<op::BatchNormRstd> batch_norm_rstd;
extern const Kernel<op::BatchNormApply> batch_norm_apply;
extern const Kernel<op::BatchNormBwd> batch_norm_bwd;

extern const Kernel<op::MaxPool2dFwd> max_pool2d_fwd;
extern const Kernel<op::MaxPool2dBwd> max_pool2d_bwd;
extern const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd;
extern const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd;

}  // namespace mininn::cuda::own
