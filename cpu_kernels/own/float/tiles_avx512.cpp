// fp32 tiles of 14 x 32: 28 sums, 2 vectors of B and 1 broadcast in 32 registers.
#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "core/integers.h"
#include "cpu_kernels/own/float/tiles.h"
#include "cpu_kernels/own/float/vec_avx512.h"

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {

constexpr int kRows = 14;

#include "cpu_kernels/own/float/tiles.inl"

}  // namespace

const TilesF32& tiles_f32_avx512() { return kTiles; }

}  // namespace mininn::cpu::own
MININN_TARGET_END
