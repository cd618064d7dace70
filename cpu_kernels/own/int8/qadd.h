// The own int8 addition kernels, best first.
#pragma once

#include "ops/qadd.h"

namespace mininn::cpu::own {

extern const Kernel<op::QAdd> qadd_avx512;
extern const Kernel<op::QAdd> qadd_avx2;

}  // namespace mininn::cpu::own
