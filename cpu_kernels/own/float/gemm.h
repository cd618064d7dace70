// fp32 matrix product on the tiles of own/float/tiles.h: each element of c is one chain of fused multiply-adds over k,
// or several of fixed length where k is large.
#pragma once

#include "ops/matmul.h"

namespace mininn::cpu::own {

extern const Kernel<op::Matmul> matmul_avx512, matmul_avx2;

}  // namespace mininn::cpu::own
