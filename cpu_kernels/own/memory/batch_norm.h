// Batch norm for f32 rows of channels, at the speed of memory.
#pragma once

#include "core/kernel.h"
#include "ops/batch_norm.h"

namespace mininn::cpu::own {

extern const Kernel<op::BatchNormMoments> batch_norm_moments_avx2, batch_norm_moments_avx512;
extern const Kernel<op::BatchNormApply> batch_norm_apply_avx2, batch_norm_apply_avx512;
extern const Kernel<op::BatchNormBwd> batch_norm_bwd_avx2, batch_norm_bwd_avx512;

}  // namespace mininn::cpu::own
