// 2-D pooling: maximum, mean over a window, mean over the whole map.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/conv2d.h"

namespace mininn {

struct Pool2dOptions {
  Hw kernel = 2;
  Hw stride = 0;   // 0: the kernel's size
  Hw padding = 0;  // on each side; at most half the kernel, so every window holds at least one pixel
};
template <class F>
void each_field(Pool2dOptions& o, const F& field) {
  field("kernel", o.kernel);
  field("stride", o.stride);
  field("padding", o.padding);
}

// Why they make no pooling of whatever input; null if nothing is wrong.
const char* misfit(const Pool2dOptions& o);

// All sizes of one pooling: [n, c, ih, iw] -> [n, c, oh, ow].
struct Pool2dGeometry {
  int64_t n = 0, c = 0, ih = 0, iw = 0, oh = 0, ow = 0;
  int64_t kh = 0, kw = 0, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;

  // Checks the shape and the options and derives oh and ow. Throws ShapeError naming `op` and all sizes.
  static Pool2dGeometry make(const char* op, const Shape& x, const Pool2dOptions& o);
  bool operator==(const Pool2dGeometry&) const = default;
};

// The pixels of an output's window that lie inside the map: rows [h0, h1) and columns [w0, w1).
struct PoolWindow {
  int64_t h0, h1, w0, w1;

  constexpr PoolWindow(const Pool2dGeometry& g, int64_t oh, int64_t ow)
      : h0(oh * g.stride_h - g.pad_h), h1(h0 + g.kh), w0(ow * g.stride_w - g.pad_w), w1(w0 + g.kw) {
    h0 = h0 > 0 ? h0 : 0, w0 = w0 > 0 ? w0 : 0;
    h1 = h1 < g.ih ? h1 : g.ih, w1 = w1 < g.iw ? w1 : g.iw;
  }
  // What an average divides by.
  constexpr int64_t divisor(const Pool2dGeometry& g, bool count_include_pad) const {
    return count_include_pad ? g.kh * g.kw : (h1 - h0) * (w1 - w0);
  }
};

namespace op {

// What kernels get: everything channels-last without gaps, one floating dtype, `index` i32.
struct MaxPool2dFwd {
  static constexpr std::string_view op = "max_pool2d_fwd";
  Pool2dGeometry g;
  CView x;
  View y;
  View index;  // ih * iw position of each maximum in its plane, the first one (row by row) among equals; or absent
};
struct MaxPool2dBwd {  // gx = sum of gy over the windows whose maximum a pixel is
  static constexpr std::string_view op = "max_pool2d_bwd";
  Pool2dGeometry g;
  CView gy, index;
  View gx;
};
struct AvgPool2dFwd {
  static constexpr std::string_view op = "avg_pool2d_fwd";
  Pool2dGeometry g;
  bool count_include_pad = true;  // divide by kh * kw, else by the number of pixels inside the map
  CView x;
  View y;
};
struct AvgPool2dBwd {
  static constexpr std::string_view op = "avg_pool2d_bwd";
  Pool2dGeometry g;
  bool count_include_pad = true;
  CView gy;
  View gx;
};

}  // namespace op

// [N,C,H,W] -> [N,C,oh,ow], channels-last; oh = (H + 2 pad - kernel) / stride + 1, rounded down. Padding counts as
// -inf, NaN wins over every number. f32, f64, bf16. Differentiable. Throws ShapeError (also where a gradient is wanted
// of a map of 2^31 pixels or more), DTypeError.
Tensor max_pool2d(const Tensor& x, const Pool2dOptions& o);

// The mean over each window; padding counts as zeros, or with `count_include_pad` false not at all. Sizes, dtypes and
// exceptions like max_pool2d. Differentiable.
Tensor avg_pool2d(const Tensor& x, const Pool2dOptions& o, bool count_include_pad = true);

struct AvgPool2dOptions {
  Pool2dOptions window;
  bool count_include_pad = true;
};
template <class F>
void each_field(AvgPool2dOptions& o, const F& field) {
  each_field(o.window, field);
  field("count_include_pad", o.count_include_pad);
}

// The mean over each map: [N,C,H,W] -> [N,C,1,1]. f32, f64, bf16. Differentiable. Throws ShapeError, DTypeError.
Tensor global_avg_pool2d(const Tensor& x);

namespace opdef {
extern const OpDef max_pool2d, avg_pool2d, global_avg_pool2d;
}

}  // namespace mininn
