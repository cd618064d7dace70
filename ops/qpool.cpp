#include "ops/qpool.h"

#include <limits>

#include "ops/qlayout.h"
#include "ops/window.h"
#include "ops/work.h"

namespace mininn {
namespace {

void check_window(const char* op, const CView& x, const QPoolWindow& win, const CView& y) {
  check_codes(op, "x", x);
  check_codes(op, "y", y);
  if (y.shape != pooled_shape(op, x.shape, win))
    throw ShapeError(message(op, ": kernel [", win.kernel.h, ",", win.kernel.w, "], stride [", win.stride.h, ",",
                             win.stride.w, "], padding [", win.padding.h, ",", win.padding.w, "] does not lead from ",
                             x.shape, " to ", y.shape));
}

void check_sum_fits(const char* op, int64_t pixels) {
  if (pixels > std::numeric_limits<int32_t>::max() / 255)
    throw ValueError(message(op, ": a sum over ", pixels, " pixels does not fit 32 bits"));
}
void check_sum_fits(const char* op, const QPoolWindow& w) {
  check_sum_fits(op, checked_mul(op, w.kernel.h, w.kernel.w));
}

}  // namespace

void check_qmax_pool2d(const op::QMaxPool2d& a) { check_window("qmax_pool2d", a.x, a.window, a.y); }

void check_qavg_pool2d(const op::QAvgPool2d& a) {
  check_window("qavg_pool2d", a.x, a.window, a.y);
  check_sum_fits("qavg_pool2d", a.window);
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

Shape pooled_shape(const char* op, const Shape& x, const QPoolWindow& win) {
  const auto positions = [&](int64_t in, int64_t kernel, int64_t stride, int64_t pad) {
    if (kernel < 1 || stride < 1 || pad < 0 || pad >= kernel)
      throw ValueError(message(op, ": kernel ", kernel, ", stride ", stride, ", padding ", pad, " is no window"));
    const int64_t n = detail::window_positions(op, in, pad, kernel, stride);
    if (n == 0) throw ShapeError(message(op, ": a kernel of ", kernel, " is larger than the padded input ", x));
    return n;
  };
  check_map(op, x);
  return {x[0], x[1], positions(x[2], win.kernel.h, win.stride.h, win.padding.h),
          positions(x[3], win.kernel.w, win.stride.w, win.padding.w)};
}

Tensor qmax_pool2d(const Tensor& x, const QPoolWindow& window) {
  const QParams q = codes_of("qmax_pool2d", "x", x);
  Tensor y = empty_codes(pooled_shape("qmax_pool2d", x.shape(), window), 0, x.device()).with_qparams(q);
  const op::QMaxPool2d a{x.view(), window, y.mutable_view()};
  check_qmax_pool2d(a);
  kernels<op::QMaxPool2d>().run(a, x.device());
  return recorded(opdef::qmax_pool2d, {x}, window, y);
}

Tensor qavg_pool2d(const Tensor& x, const QAvgPool2dOptions& o) {
  const QParams q = codes_of("qavg_pool2d", "x", x);
  Tensor y = empty_codes(pooled_shape("qavg_pool2d", x.shape(), o.window), 0, x.device()).with_qparams(o.y);
  op::QAvgPool2d a;
  a.x = x.view();
  a.x_zero = q.zero_point;
  a.window = o.window;
  a.count_include_pad = o.count_include_pad;
  a.scale = float(double(q.scale) / double(o.y.scale));
  a.y = y.mutable_view();
  a.y_zero = o.y.zero_point;
  check_qavg_pool2d(a);
  kernels<op::QAvgPool2d>().run(a, x.device());
  return recorded(opdef::qavg_pool2d, {x}, o, y);
}

Tensor qglobal_sum(const Tensor& x) {
  const QParams q = codes_of("qglobal_sum", "x", x);
  Tensor y = Tensor::empty({x.size(0), x.size(1)}, DType::i32, x.device()).with_qparams(q);
  const op::QGlobalSum a{x.view(), y.mutable_view()};
  check_qglobal_sum(a);
  kernels<op::QGlobalSum>().run(a, x.device());
  return recorded(opdef::qglobal_sum, {x}, NoOptions(), y);
}

constinit const OpDef opdef::qmax_pool2d =
    costs(define_op<QPoolWindow, [](auto in, const auto& o) { return mininn::qmax_pool2d(in[0], o); },
                    [](auto in, const auto& o) {
                      const QParams q = codes_of("qmax_pool2d", "x", in[0]);
                      return codes_info("qmax_pool2d", pooled_shape("qmax_pool2d", in[0].shape, o), q);
                    }>("qmax_pool2d"),
          pool_work);
constinit const OpDef opdef::qavg_pool2d = costs(
    define_op<QAvgPool2dOptions, [](auto in, const auto& o) { return mininn::qavg_pool2d(in[0], o); },
              [](auto in, const auto& o) {
                const QParams x = codes_of("qavg_pool2d", "x", in[0]);
                check_sum_fits("qavg_pool2d", o.window);
                const TensorInfo y = codes_info("qavg_pool2d", pooled_shape("qavg_pool2d", in[0].shape, o.window), o.y);
                check_scale("qavg_pool2d", "scale", float(double(x.scale) / double(o.y.scale)));
                return y;
              }>("qavg_pool2d"),
    pool_work);
constinit const OpDef opdef::qglobal_sum =
    define_op<NoOptions, [](auto in, const auto&) { return mininn::qglobal_sum(in[0]); },
              [](auto in, const auto&) {
                const QParams q = codes_of("qglobal_sum", "x", in[0]);
                const Shape& x = in[0].shape;
                check_sum_fits("qglobal_sum", checked_mul("qglobal_sum", x[2], x[3]));
                return TensorInfo{{x[0], x[1]}, DType::i32, q};
              }>("qglobal_sum");

}  // namespace mininn
