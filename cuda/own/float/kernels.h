// Floating matrix products and convolutions.
#pragma once

#include "ops/conv2d.h"
#include "ops/matmul.h"

namespace mininn::cuda::own {

extern const Kernel<op::Matmul> matmul;
extern const Kernel<op::Conv2dFwd> conv2d_fwd;  // these three: any
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights;
extern const Kernel<op::Conv2dFwd> conv2d_fwd_mma;  // these: of bf16 without groups, on tensor cores (sm_80)
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_mma;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_mma;
extern const Kernel<op::Conv2dFwd> conv2d_fwd_wgmma;           // the same on those of sm_90a
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_wgmma;  // of stride 1

}  // namespace mininn::cuda::own
