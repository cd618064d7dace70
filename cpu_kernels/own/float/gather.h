// Runs the tiles of an implicit matrix product on all threads.
#pragma once

#include <cstdint>
#include <span>

#include "core/integers.h"
#include "cpu_kernels/own/float/pack.h"

namespace mininn::cpu::own {

// Computes every region of `images` images with the matrix B that `layout` describes: p's, if it has one, else it is
// packed from `b`. Fills in p's k, k_count, taps, columns and zeros. The regions must not overlap in out.
void gather_gemm(const TilesF32& t, GatherGemm p, const MatrixLayout& layout, const float* b,
                 std::span<const GatherRegion> regions, int64_t images);

// How many images gather_gemm keeps together, so that what they read and write stays in cache while they go through the
// panels: a panel's columns are a part of each pixel.
int64_t images_per_block(const GatherGemm& p, int64_t images);

// Tiles of a region of `pixels` pixels: as few as possible, of almost equal height.
inline int64_t tile_count(const TilesF32& t, int64_t pixels) { return ceil_div(pixels, t.mr); }

}  // namespace mininn::cpu::own
