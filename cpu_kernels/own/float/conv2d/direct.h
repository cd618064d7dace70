// fp32 convolution by implicit matrix product: forward, input gradient and weight gradient, for any stride, padding,
// dilation and groups.
//
// Forward and input gradient: each output element is one chain of fused multiply-adds over (kh, kw, channel), or
// several of fixed length where there are many (own/float/tiles.h), so its bits do not depend on batch, tiling or
// threads. Weight gradient: pixels are summed in blocks of fixed size; the bits do not depend on the number of threads.
#pragma once

#include "ops/conv2d.h"

namespace mininn::cpu::own {

extern const Kernel<op::Conv2dFwd> conv2d_fwd_avx512, conv2d_fwd_avx2;
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_avx512, conv2d_bwd_data_avx2;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_avx512, conv2d_bwd_weights_avx2;

}  // namespace mininn::cpu::own
