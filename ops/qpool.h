// Int8 pooling on u8 codes [N,C,H,W], pixel-strided (ops/qlayout.h).
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/view.h"
#include "ops/conv2d.h"
#include "ops/op.h"

namespace mininn {

// A pooling window; padding < kernel, so that every window holds at least one pixel.
//   oh = (H + 2 pad - kernel) / stride + 1
struct QPoolWindow {
  Hw kernel = 1, stride = 1, padding = 0;
};
template <class F>
void each_field(QPoolWindow& w, const F& field) {
  field("kernel", w.kernel);
  field("stride", w.stride);
  field("padding", w.padding);
}

namespace op {

// y = the largest code of the window; padding never wins. y has x's scale and zero point.
struct QMaxPool2d {
  static constexpr std::string_view op = "qmax_pool2d";
  CView x;
  QPoolWindow window;
  View y;
};

//   t = fl32(sum of (x - x_zero) over the window's pixels) * fl32(scale / float(count))
//   y = rne(min(max(t, lo - y_zero), hi - y_zero)) + y_zero               round half to even
// count is kh*kw with count_include_pad, else the number of the window's pixels that are not padding.
struct QAvgPool2d {
  static constexpr std::string_view op = "qavg_pool2d";
  CView x;
  int32_t x_zero = 0;
  QPoolWindow window;
  bool count_include_pad = true;
  float scale = 0;  // x's scale / y's scale
  View y;
  int32_t y_zero = 0, lo = 0, hi = 255;
};

// Global average pooling without its rounding: y[n,c] = sum of all codes of the map, exactly. QLinear takes it as it
// is; the 1/(H*W) goes into its multiplier and -x_zero*H*W*sum(w) into its bias.
struct QGlobalSum {
  static constexpr std::string_view op = "qglobal_sum";
  CView x;
  View y;  // i32 [N,C], contiguous
};

}  // namespace op

// [N,C,H,W] codes -> [N,C,oh,ow] codes on the same grid.
Tensor qmax_pool2d(const Tensor& x, const QPoolWindow& window);

struct QAvgPool2dOptions {
  QPoolWindow window;
  bool count_include_pad = true;
  QParams y;  // what the result's codes stand for
};
template <class F>
void each_field(QAvgPool2dOptions& o, const F& field) {
  each_field(o.window, field);
  field("count_include_pad", o.count_include_pad);
  each_field(o.y, field);
}
// [N,C,H,W] codes -> [N,C,oh,ow] codes.
Tensor qavg_pool2d(const Tensor& x, const QAvgPool2dOptions& o);

// [N,C,H,W] codes -> [N,C] i32, the sums of each map's codes, which keep the qparams() of the codes.
Tensor qglobal_sum(const Tensor& x);

namespace opdef {
extern const OpDef qmax_pool2d, qavg_pool2d, qglobal_sum;
}

// Sizes of the result for x [N,C,H,W]. Throws ValueError for no window, ShapeError where it does not fit.
Shape pooled_shape(const char* op, const Shape& x, const QPoolWindow& window);

// Throw ShapeError, DTypeError or ValueError unless the arguments are as described.
void check_qmax_pool2d(const op::QMaxPool2d& a);
void check_qavg_pool2d(const op::QAvgPool2d& a);
void check_qglobal_sum(const op::QGlobalSum& a);

}  // namespace mininn
