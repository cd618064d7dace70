// The own int8 fully connected kernels, best first.
#pragma once

#include "ops/qlinear.h"

namespace mininn::cpu::own {

extern const Kernel<QLinear> qlinear_avx2;
extern const Kernel<QLinear> qlinear_scalar;

}  // namespace mininn::cpu::own
