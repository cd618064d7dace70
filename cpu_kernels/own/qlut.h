// The own table look-up kernel.
#pragma once

#include "ops/qlut.h"

namespace mininn::cpu::own {

extern const Kernel<op::QLut> qlut_scalar;

}  // namespace mininn::cpu::own
