// The input gradient of a convolution as convolutions of gy.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/integers.h"
#include "ops/conv2d.h"

namespace mininn::cpu {

// Along one axis: the positions phase, phase + stride, ... are a convolution of gy with every stride-th tap, backwards.
// A position that no window meets may have none. Not for a stride together with a dilation.
struct Phase {
  int64_t out;          // positions
  int64_t first, taps;  // first, first + stride, ...
  int64_t pad, dil;

  Phase(int64_t phase, int64_t in, int64_t k, int64_t stride, int64_t padding, int64_t dilation)
      : out(ceil_div(in - phase, stride)), first((phase + padding) % stride), dil(stride == 1 ? dilation : 1) {
    taps = first < k ? ceil_div(k - first, stride) : 0;
    pad = (taps - 1) * dil - (phase + padding - first) / stride;
  }
};
inline Phase row_phase(const Conv2dGeometry& g, int64_t i) { return {i, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h}; }
inline Phase column_phase(const Conv2dGeometry& g, int64_t i) { return {i, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w}; }

// The convolution of stride 1 that makes every stride-th pixel of gx, from row i and column j on. Behind gy's last row
// and column there is padding, as much as is read.
inline Conv2dGeometry data_gradient(const Conv2dGeometry& g, int64_t i = 0, int64_t j = 0) {
  const Phase h = row_phase(g, i), w = column_phase(g, j);
  Conv2dGeometry p{.n = g.n, .ic = g.oc, .ih = g.oh, .iw = g.ow, .oc = g.ic, .oh = h.out, .ow = w.out};
  p.kh = h.taps, p.kw = w.taps;
  p.pad_h = h.pad, p.pad_w = w.pad;
  p.dil_h = h.dil, p.dil_w = w.dil;
  p.groups = g.groups;
  return p;
}

// Calls f(i, j, geometry) for each of these that has pixels and taps.
template <class F>
void for_data_gradients(const Conv2dGeometry& g, const F& f) {
  for (int64_t i = 0; i < std::min(g.stride_h, g.ih); ++i)
    for (int64_t j = 0; j < std::min(g.stride_w, g.iw); ++j) {
      const Conv2dGeometry p = data_gradient(g, i, j);
      if (p.kh * p.kw > 0) f(i, j, p);
    }
}

}  // namespace mininn::cpu
