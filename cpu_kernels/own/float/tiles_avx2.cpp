// fp32 tiles of 6 x 16: 12 sums, 2 vectors of B and 1 broadcast in 16 registers.
#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "core/integers.h"
#include "cpu_kernels/own/float/tiles.h"
#include "cpu_kernels/own/float/vec_avx2.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

constexpr int kRows = 6;

#include "cpu_kernels/own/float/tiles.inl"

}  // namespace

const TilesF32& tiles_f32_avx2() { return kTiles; }

}  // namespace mininn::cpu::own
MININN_TARGET_END
