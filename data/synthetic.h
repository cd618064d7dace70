// A stand-in for CIFAR-10 where there is neither network nor data.
#pragma once

#include <cstdint>

#include "data/dataset.h"

namespace mininn::data {

// n images u8 [n,3,32,32] of ten classes (disk, ring, square, triangle, cross, star, stripes, checkerboard, dots,
// waves), labels 0, 1, ..., 9, 0, 1, ... Place, size, angle, colours, background, lighting and noise vary; image i of a
// split depends on (seed, split, i) alone, and the two splits share no image. Throws ValueError unless
// 1 <= n <= 2^32.
Dataset synthetic(int64_t n, Split split, uint64_t seed = 1);

}  // namespace mininn::data
