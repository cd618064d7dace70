// The weight gradient of fp32 by direct sums.
#pragma once

#include "cpu_kernels/own/float/tiles.h"
#include "ops/conv2d.h"

namespace mininn::cpu::own {

void direct_weight_gradient(const TilesF32& t, const op::Conv2dBwdWeights& a);

}  // namespace mininn::cpu::own
