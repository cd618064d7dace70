// The windows of pooling.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "ops/qpool.h"

namespace mininn::cuda::own {

struct PoolSizes {
  int64_t c, ih, iw, oh, ow;
  QPoolWindow window;

  PoolSizes(const CView& x, const View& y, const QPoolWindow& w)
      : c(x.shape[1]), ih(x.shape[2]), iw(x.shape[3]), oh(y.shape[2]), ow(y.shape[3]), window(w) {}
};

// The window of a pixel of the result, counted through the batch: its pixels inside of the map.
struct Window {
  int64_t image, h0, h1, w0, w1;

  __device__ Window(const PoolSizes& s, int64_t pixel) : image(pixel / (s.oh * s.ow)) {
    const int64_t h = pixel / s.ow % s.oh * s.window.stride.h - s.window.padding.h;
    const int64_t w = pixel % s.ow * s.window.stride.w - s.window.padding.w;
    h0 = h > 0 ? h : 0, h1 = h + s.window.kernel.h < s.ih ? h + s.window.kernel.h : s.ih;
    w0 = w > 0 ? w : 0, w1 = w + s.window.kernel.w < s.iw ? w + s.window.kernel.w : s.iw;
  }
  __device__ int64_t inside() const { return (h1 - h0) * (w1 - w0); }
};

}  // namespace mininn::cuda::own
