// Walks over the pixels of [N,C,H,W] tensors, in parallel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "core/shape.h"

namespace mininn::cpu {

// Calls body(n, h) for every row of pixels.
template <class Body>
void for_each_row(const Shape& shape, const Body& body) {
  const int64_t h = shape[2], grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, shape[3] * shape[1]));
  parallel_for(shape[0] * h, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i / h, i % h);
  });
}

// Calls body(n, h, w) for every pixel.
template <class Body>
void for_each_pixel(const Shape& shape, const Body& body) {
  for_each_row(shape, [&](int64_t n, int64_t h) {
    for (int64_t w = 0; w < shape[3]; ++w) body(n, h, w);
  });
}

// Where a pixel begins.
inline int64_t pixel_offset(const Strides& s, int64_t n, int64_t h, int64_t w) {
  return n * s[0] + h * s[2] + w * s[3];
}

}  // namespace mininn::cpu
