// fp32 matrix product on the tiles of own/float/tiles.h. Each element of c is one chain of fused multiply-adds over k.
#pragma once

#include "ops/matmul.h"

namespace mininn::cpu::own {

extern const Kernel<op::Matmul> matmul_avx512, matmul_avx2;

}  // namespace mininn::cpu::own
