// Pooling windows over u8 codes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "ops/qpool.h"

namespace mininn::cpu {

// Calls body(y pixel index, x's image, h0, h1, w0, w1) for output pixels in parallel: the window's pixels inside of the
// map are rows [h0, h1) and columns [w0, w1).
template <class Body>
void for_each_window(const CView& x, const View& y, const QPoolWindow& win, const Body& body) {
  const int64_t oh = y.shape[2], ow = y.shape[3], ih = x.shape[2], iw = x.shape[3];
  const int64_t work = std::max<int64_t>(1, ow * y.shape[1] * win.kernel.h * win.kernel.w);
  parallel_for(y.shape[0] * oh, std::max<int64_t>(1, 32768 / work), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < ow; ++j) {
        const int64_t h = i % oh * win.stride.h - win.padding.h, w = j * win.stride.w - win.padding.w;
        body(i * ow + j, x.as<uint8_t>() + i / oh * x.strides[0], std::max<int64_t>(h, 0),
             std::min(h + win.kernel.h, ih), std::max<int64_t>(w, 0), std::min(w + win.kernel.w, iw));
      }
  });
}

}  // namespace mininn::cpu
