// Pooling for f32 channels-last maps: the lanes of a vector are neighbouring channels.
#pragma once

#include "core/kernel.h"
#include "ops/pool2d.h"

namespace mininn::cpu::own {

extern const Kernel<op::MaxPool2dFwd> max_pool2d_fwd_avx2, max_pool2d_fwd_avx512;
extern const Kernel<op::MaxPool2dBwd> max_pool2d_bwd_avx2, max_pool2d_bwd_avx512;
extern const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd_avx2, avg_pool2d_fwd_avx512;
extern const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd_avx2, avg_pool2d_bwd_avx512;

}  // namespace mininn::cpu::own
