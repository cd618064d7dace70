// What kernels need that copy rows of pixels, byte by byte.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "core/integers.h"

namespace mininn::cpu {

// Short runs, a multiple of 4 bytes: mostly a pixel, for which no call of the C library pays.
inline void copy_short(uint8_t* to, const uint8_t* from, int64_t bytes) {
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) std::memcpy(to + i, from + i, 16);
  for (; i < bytes; i += 4) std::memcpy(to + i, from + i, 4);
}

inline void fill_short(uint8_t* to, uint8_t byte, int64_t bytes) {
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) std::memset(to + i, byte, 16);
  for (; i < bytes; i += 4) std::memset(to + i, byte, 4);
}

// Of columns w, w + step, .. (`count` of them), those [first, last) that lie within a row of `width`.
inline std::pair<int64_t, int64_t> columns_inside(int64_t w, int64_t step, int64_t count, int64_t width) {
  const int64_t first = std::clamp<int64_t>(w < 0 ? ceil_div(-w, step) : 0, 0, count);
  return {first, std::clamp<int64_t>(w < width ? ceil_div(width - w, step) : 0, first, count)};
}

}  // namespace mininn::cpu
