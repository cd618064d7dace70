// The own int8 pooling kernels.
#pragma once

#include "ops/qpool.h"

namespace mininn::cpu::own {

extern const Kernel<op::QMaxPool2d> qmax_pool2d_avx2;
extern const Kernel<op::QGlobalSum> qglobal_sum_avx2;

}  // namespace mininn::cpu::own
