// Floating matrix products and convolutions.
#pragma once

#include "ops/conv2d.h"
#include "ops/matmul.h"

namespace mininn::cuda::own {

extern const Kernel<op::Matmul> matmul;
extern const Kernel<op::Conv2dFwd> conv2d_fwd;
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights;

}  // namespace mininn::cuda::own
