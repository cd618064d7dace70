// Where windows that slide over padded images fit: convolutions and poolings.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/shape.h"
#include "ops/conv2d.h"

namespace mininn::detail {

// The number of positions along one axis where a window of `extent` pixels fits into `in` pixels with `pad` more on
// each side; 0 if there is none. Throws ShapeError if a padded size overflows.
inline int64_t window_positions(const char* op, int64_t in, int64_t pad, int64_t extent, int64_t stride) {
  const int64_t padded = checked_add(op, in, checked_mul(op, pad, 2));
  return padded < extent ? 0 : (padded - extent) / stride + 1;
}

// Throws ShapeError unless a kernel can step over the padding of [n, c, h, w] images, and by a stride, in pointer
// arithmetic: a map of that size must be addressable although it never exists.
inline void require_addressable(const char* op, int64_t n, int64_t c, Hw padded, Hw stride) {
  const Shape reach{n, c, std::max(padded.h, stride.h), std::max(padded.w, stride.w)};
  checked_mul(op, numel(reach), int64_t(sizeof(double)));
}

}  // namespace mininn::detail
