// The own kernels that make u8 codes.
#pragma once

#include "ops/quantize.h"

namespace mininn::cpu::own {

extern const Kernel<op::Quantize> quantize_avx2;
extern const Kernel<op::QPack> qpack_avx2;

}  // namespace mininn::cpu::own
