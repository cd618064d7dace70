// The own kernels into and out of u8 codes, best first.
#pragma once

#include "ops/quantize.h"

namespace mininn::cpu::own {

extern const Kernel<Quantize> quantize_avx2;
extern const Kernel<Quantize> quantize_scalar;
extern const Kernel<QPack> qpack_avx2;
extern const Kernel<QPack> qpack_scalar;
extern const Kernel<Dequantize> dequantize_scalar;

}  // namespace mininn::cpu::own
