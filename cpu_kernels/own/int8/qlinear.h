// The own int8 fully connected kernel.
#pragma once

#include "ops/qlinear.h"

namespace mininn::cpu::own {

extern const Kernel<op::QLinear> qlinear_avx2;

}  // namespace mininn::cpu::own
