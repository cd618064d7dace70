#include "ops/qpool.h"

#include <limits>

#include "ops/qlayout.h"
#include "ops/window.h"

namespace mininn {
namespace {

void check_window(const char* op, const CView& x, const QPoolWindow& win, const CView& y) {
  check_codes(op, "x", x);
  check_codes(op, "y", y);
  const auto check_dim = [&](int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t out) {
    if (kernel < 1 || stride < 1 || pad < 0 || pad >= kernel)
      throw ValueError(message(op, ": kernel ", kernel, ", stride ", stride, ", padding ", pad, " is no window"));
    const int64_t positions = detail::window_positions(op, in, pad, kernel, stride);
    if (positions == 0 || out != positions)
      throw ShapeError(message(op, ": kernel ", kernel, ", stride ", stride, ", padding ", pad, " does not lead from ",
                               x.shape, " to ", y.shape));
  };
  check_dim(x.shape[2], win.kernel.h, win.stride.h, win.padding.h, y.shape[2]);
  check_dim(x.shape[3], win.kernel.w, win.stride.w, win.padding.w, y.shape[3]);
  if (x.shape[0] != y.shape[0] || x.shape[1] != y.shape[1])
    throw ShapeError(message(op, ": batch and channels differ: ", x.shape, " -> ", y.shape));
}

void check_sum_fits(const char* op, int64_t pixels) {
  if (pixels > std::numeric_limits<int32_t>::max() / 255)
    throw ValueError(message(op, ": a sum over ", pixels, " pixels does not fit 32 bits"));
}

}  // namespace

void check_qmax_pool2d(const op::QMaxPool2d& a) { check_window("qmax_pool2d", a.x, a.window, a.y); }

void check_qavg_pool2d(const op::QAvgPool2d& a) {
  check_window("qavg_pool2d", a.x, a.window, a.y);
  check_sum_fits("qavg_pool2d", checked_mul("qavg_pool2d", a.window.kernel.h, a.window.kernel.w));
  check_code_range("qavg_pool2d", a.x_zero, 0, 255);
  check_code_range("qavg_pool2d", a.y_zero, a.lo, a.hi);
  check_scale("qavg_pool2d", "scale", a.scale);
}

void check_qglobal_sum(const op::QGlobalSum& a) {
  check_codes("qglobal_sum", "x", a.x);
  if (a.y.dtype != DType::i32) throw DTypeError(message("qglobal_sum: y must be i32, not ", name(a.y.dtype)));
  if (!(a.y.shape == Shape{a.x.shape[0], a.x.shape[1]}) || !a.y.contiguous())
    throw ShapeError(message("qglobal_sum: y must be contiguous [N,C] for x ", a.x.shape, ", not ", a.y.shape));
  check_sum_fits("qglobal_sum", a.x.shape[2] * a.x.shape[3]);
}

}  // namespace mininn
