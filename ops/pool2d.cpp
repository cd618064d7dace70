#include "ops/pool2d.h"

#include <limits>

#include "core/autograd.h"
#include "ops/operand.h"
#include "ops/window.h"
#include "ops/work.h"

namespace mininn {
namespace {

using detail::Operand;

constexpr auto kChannelsLast = MemoryFormat::channels_last;

Shape x_shape(const Pool2dGeometry& g) { return {g.n, g.c, g.ih, g.iw}; }
Shape y_shape(const Pool2dGeometry& g) { return {g.n, g.c, g.oh, g.ow}; }

// The input gradient of a pooling whose kernel arguments are `args` with gx still missing.
template <class Args>
Grads run_backward(const KernelTable<Args>& table, Args args, const Tensor& gy) {
  const Tensor gy_dense = detail::dense(gy, kChannelsLast);
  Tensor gx = Tensor::empty(x_shape(args.g), gy.dtype(), gy.device(), kChannelsLast);
  args.gy = gy_dense.view();
  args.gx = gx.mutable_view();
  table.run(args, gy.device());
  return {gx};
}

struct MaxPool2dBackward {
  static constexpr const char* op = "max_pool2d";
  Pool2dGeometry g;
  Saved index;

  Grads backward(const Tensor& gy, const Wants&) const {
    return run_backward(kernels<op::MaxPool2dBwd>(), {.g = g, .gy = {}, .index = index.get().view(), .gx = {}}, gy);
  }
};

struct AvgPool2dBackward {
  static constexpr const char* op = "avg_pool2d";
  Pool2dGeometry g;
  bool count_include_pad;

  Grads backward(const Tensor& gy, const Wants&) const {
    return run_backward(kernels<op::AvgPool2dBwd>(), {g, count_include_pad, {}, {}}, gy);
  }
};

struct GlobalAvgPool2dBackward {
  static constexpr const char* op = "global_avg_pool2d";
  Pool2dGeometry g;

  Grads backward(const Tensor& gy, const Wants&) const {
    return run_backward(kernels<op::AvgPool2dBwd>(), {g, true, {}, {}}, gy);
  }
};

Tensor run_average(const Tensor& x, const Pool2dGeometry& g, bool count_include_pad) {
  const Tensor x_dense = detail::dense(x, kChannelsLast);
  Tensor y = Tensor::empty(y_shape(g), x.dtype(), x.device(), kChannelsLast);
  kernels<op::AvgPool2dFwd>().run({g, count_include_pad, x_dense.view(), y.mutable_view()}, x.device());
  return y;
}

// The options with every size written out.
Pool2dOptions options_of(const Pool2dGeometry& g) {
  return {{g.kh, g.kw}, {g.stride_h, g.stride_w}, {g.pad_h, g.pad_w}};
}

Hw whole_map(const Shape& x) {
  if (x.rank() != 4) throw ShapeError(message("global_avg_pool2d: x must be [N,C,H,W], not ", x));
  return {x[2], x[3]};
}

TensorInfo infer(const char* op, const TensorInfo& x, const Pool2dOptions& o) {
  return {y_shape(Pool2dGeometry::make(op, x.shape, o)), x.dtype};
}

}  // namespace

const char* misfit(const Pool2dOptions& o) {
  if (o.kernel.h < 1 || o.kernel.w < 1) return "the kernel must be positive";
  if (o.stride.h < 0 || o.stride.w < 0) return "the stride must not be negative";
  if (o.padding.h < 0 || o.padding.w < 0 || o.padding.h > o.kernel.h / 2 || o.padding.w > o.kernel.w / 2)
    return "the padding must be between 0 and half the kernel";
  return nullptr;
}

Pool2dGeometry Pool2dGeometry::make(const char* op, const Shape& x, const Pool2dOptions& o) {
  const auto fail = [&](const char* why) {
    throw ShapeError(message(op, ": x ", x, ", kernel [", o.kernel.h, ",", o.kernel.w, "], stride [", o.stride.h, ",",
                             o.stride.w, "], padding [", o.padding.h, ",", o.padding.w, "]: ", why));
  };
  if (x.rank() != 4) fail("x must be [N,C,H,W]");
  if (x[0] < 0 || x[1] < 1 || x[2] < 1 || x[3] < 1) fail("C, H and W of x must be positive");
  if (const char* why = misfit(o)) fail(why);

  Pool2dGeometry g;
  g.n = x[0], g.c = x[1], g.ih = x[2], g.iw = x[3];
  g.kh = o.kernel.h, g.kw = o.kernel.w;
  g.stride_h = o.stride.h ? o.stride.h : g.kh, g.stride_w = o.stride.w ? o.stride.w : g.kw;
  g.pad_h = o.padding.h, g.pad_w = o.padding.w;
  g.oh = detail::window_positions(op, g.ih, g.pad_h, g.kh, g.stride_h);
  g.ow = detail::window_positions(op, g.iw, g.pad_w, g.kw, g.stride_w);
  if (g.oh == 0 || g.ow == 0) fail("the kernel is larger than the padded input");
  detail::require_addressable(op, g.n, g.c, {g.ih + 2 * g.pad_h, g.iw + 2 * g.pad_w}, {g.stride_h, g.stride_w});
  return g;
}

Tensor max_pool2d(const Tensor& x, const Pool2dOptions& o) {
  const Operand in = Operand("max_pool2d", "x", x).floating();
  const auto g = Pool2dGeometry::make("max_pool2d", x.shape(), o);
  const Tensor x_dense = in.dense(kChannelsLast);
  Tensor y = Tensor::empty(y_shape(g), x.dtype(), x.device(), kChannelsLast);
  Tensor index;  // only backward needs it
  if (grad_enabled() && x.requires_grad()) {
    if (g.ih * g.iw > std::numeric_limits<int32_t>::max())
      throw ShapeError(message("max_pool2d: positions in a map of ", g.ih, " x ", g.iw, " do not fit 32 bits"));
    index = Tensor::empty(y_shape(g), DType::i32, x.device(), kChannelsLast);
  }
  kernels<op::MaxPool2dFwd>().run({g, x_dense.view(), y.mutable_view(), index ? index.mutable_view() : View()},
                                  x.device());
  return attach<MaxPool2dBackward>(std::move(y), {x}, options_of(g), g, index);
}

Tensor avg_pool2d(const Tensor& x, const Pool2dOptions& o, bool count_include_pad) {
  Operand("avg_pool2d", "x", x).floating();
  const auto g = Pool2dGeometry::make("avg_pool2d", x.shape(), o);
  return attach<AvgPool2dBackward>(run_average(x, g, count_include_pad), {x},
                                   AvgPool2dOptions{options_of(g), count_include_pad}, g, count_include_pad);
}

Tensor global_avg_pool2d(const Tensor& x) {
  Operand("global_avg_pool2d", "x", x).floating();
  const auto g = Pool2dGeometry::make("global_avg_pool2d", x.shape(), {.kernel = whole_map(x.shape())});
  return attach<GlobalAvgPool2dBackward>(run_average(x, g, true), {x}, {}, g);
}

constinit const OpDef opdef::max_pool2d = costs(
    define_op<Pool2dOptions, [](auto in, const auto& o) { return mininn::max_pool2d(in[0], o); },
              [](auto in, const auto& o) { return infer(MaxPool2dBackward::op, in[0], o); }>(MaxPool2dBackward::op),
    pool_work);
constinit const OpDef opdef::avg_pool2d =
    costs(define_op<AvgPool2dOptions,
                    [](auto in, const auto& o) { return mininn::avg_pool2d(in[0], o.window, o.count_include_pad); },
                    [](auto in, const auto& o) { return infer(AvgPool2dBackward::op, in[0], o.window); }>(
              AvgPool2dBackward::op),
          pool_work);
constinit const OpDef opdef::global_avg_pool2d =
    define_op<NoOptions, [](auto in, const auto&) { return mininn::global_avg_pool2d(in[0]); },
              [](auto in, const auto&) {
                return infer(GlobalAvgPool2dBackward::op, in[0], {.kernel = whole_map(in[0].shape)});
              }>(GlobalAvgPool2dBackward::op);

}  // namespace mininn
