// The cuDNN backend: what cuda/register.cpp puts into the tables of CUDA devices.
#pragma once

#include "ops/conv2d.h"

namespace mininn::cuda::cudnn {

extern const Kernel<op::Conv2dFwd> conv2d_fwd;                 // f32 (never TF32), bf16
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data;        // the same
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights;  // the same

}  // namespace mininn::cuda::cudnn
