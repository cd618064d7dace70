// Direct convolutions of bf16 with f32 weights by the f32 kernels of direct.h, for processors that do not multiply
// bf16: activations become f32 on the way in and bf16 on the way out, some images at a time, so that what is between
// stays in the cache.
#pragma once

#include "ops/conv2d.h"

namespace mininn::cpu::own {

extern const Kernel<op::Conv2dFwd> conv2d_fwd_widened_avx512, conv2d_fwd_widened_avx2;
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_widened_avx512, conv2d_bwd_data_widened_avx2;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_widened_avx512, conv2d_bwd_weights_widened_avx2;

}  // namespace mininn::cpu::own
