// fp32 Winograd products of 6 x 2 sums, 2 vectors of weights and 1 broadcast in 16 registers.
#include <array>
#include <utility>

#include "core/integers.h"
#include "cpu_kernels/own/float/conv2d/winograd.h"
#include "cpu_kernels/own/float/vec_avx2.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

constexpr int kMostTiles = 6;
constexpr int64_t kCache = int64_t{1} << 19;
constexpr auto kTiles = tiles_f32_avx2;

#include "cpu_kernels/own/float/conv2d/winograd.inl"

}  // namespace

const WinogradF32& winograd_f32_avx2() { return kWinograd; }

}  // namespace mininn::cpu::own
MININN_TARGET_END
