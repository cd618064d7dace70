#include "ops/qlinear.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "ops/operand.h"
#include "ops/prepared.h"
#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "ops/work.h"

namespace mininn {

void check_qlinear(const op::QLinear& a) {
  const bool codes = a.x.dtype == DType::u8;
  if (!codes && a.x.dtype != DType::i32)
    throw DTypeError(message("qlinear: x must be u8 or i32, not ", name(a.x.dtype)));
  if (a.w.dtype != DType::i8 || a.bias.dtype != DType::i32 || a.multiplier.dtype != DType::f32 ||
      a.y.dtype != DType::f32)
    throw DTypeError(message("qlinear: w, bias, multiplier, y must be i8, i32, f32, f32, not ", name(a.w.dtype), ", ",
                             name(a.bias.dtype), ", ", name(a.multiplier.dtype), ", ", name(a.y.dtype)));
  const bool ranks = a.x.shape.rank() == 2 && a.w.shape.rank() == 2;
  const int64_t n = ranks ? a.x.shape[0] : 0, k = ranks ? a.x.shape[1] : 0, o = ranks ? a.w.shape[0] : 0;
  if (!ranks || a.w.shape[1] != k || !(a.bias.shape == Shape{o}) || !(a.multiplier.shape == Shape{o}) ||
      !(a.y.shape == Shape{n, o}))
    throw ShapeError(message("qlinear: [N,K] x [O,K] + [O] times [O] -> [N,O] expected, not ", a.x.shape, " x ",
                             a.w.shape, " + ", a.bias.shape, " times ", a.multiplier.shape, " -> ", a.y.shape));
  const bool x_layout = codes ? a.x.strides[1] == 1 && a.x.strides[0] >= k : a.x.contiguous();
  if (!x_layout || !a.w.contiguous() || !a.bias.contiguous() || !a.multiplier.contiguous() || !a.y.contiguous())
    throw ShapeError(
        message("qlinear: operands must be contiguous (u8 rows may have gaps), x has strides ", a.x.strides));
  if (a.x_max < (codes ? 255 : 0)) throw ValueError(message("qlinear: x_max ", a.x_max, " is too small"));
  const auto* w = a.w.as<int8_t>();
  for (int64_t i = 0; i < o; ++i) {
    check_accumulator("qlinear", i, {w + i * k, size_t(k)}, a.x_max, std::abs(int64_t{a.bias.as<int32_t>()[i]}));
    if (!std::isfinite(a.multiplier.as<float>()[i]))
      throw ValueError(message("qlinear: multiplier ", i, " is not finite"));
  }
}

namespace {

void check_pixels(int64_t pixels) {
  const int64_t most = std::numeric_limits<int32_t>::max() / 255;
  if (pixels < 1 || pixels > most)
    throw ValueError(message("qlinear: sums of ", pixels, " pixels; 1 to ", most, " fit 32 bits"));
}

class PreparedQLinear final : public PreparedOp {
 public:
  PreparedQLinear(const QParams& x, int64_t inputs, const Tensor& w, const Tensor& w_scale, const Tensor& bias,
                  const QLinearOptions& o)
      : x_(x), w_(w), bias_(bias) {
    for (const Tensor& t : {w, w_scale, bias}) t.require_elements("qlinear");
    check_pixels(o.pixels);
    x_max_ = int32_t(255 * o.pixels);
    multiplier_ = multipliers(double(x.scale) / double(o.pixels), w_scale, 1.0);
    Tensor unread = Tensor::empty({1, inputs}, DType::i32, w.device());
    Tensor y = Tensor::empty({1, w.rank() == 2 ? w.size(0) : 0}, DType::f32, w.device());
    const op::QLinear a = args(unread, y);
    check_constants(a);
    kernel_ = kernels<op::QLinear>().select(a, w.device());
    tuned_.kernel = kernel_.name;
  }

  Tensor call(std::span<const Tensor> in) const override { return (*this)(in[0]); }
  Tensor operator()(const Tensor& x) const {
    detail::Operand("qlinear", "x", x)
        .is(DType::i32)
        .shape({x.size(0), w_.size(1)})
        .contiguous()
        .beside(detail::Operand("qlinear", "w", w_));
    if (x.qparams() != x_) throw ValueError("qlinear: x is on another grid than the layer was made for");
    Tensor y = Tensor::empty({x.size(0), w_.size(0)}, DType::f32, x.device());
    launch(kernel_, args(x, y), x.device());
    return y;
  }
  const TunedLayer& tuned() const override { return tuned_; }
  Tensor packed() const override { return {}; }
  std::shared_ptr<const PreparedOp> with_kernel(const std::string&) const override { return nullptr; }

 private:
  // Reads them, on the host.
  void check_constants(op::QLinear a) const {
    const Tensor w = w_.to(Device::cpu()), bias = bias_.to(Device::cpu()), multiplier = multiplier_.to(Device::cpu());
    a.w = w.view();
    a.bias = bias.view();
    a.multiplier = multiplier.view();
    check_qlinear(a);
  }
  op::QLinear args(const Tensor& x, Tensor& y) const {
    return {x.view(), x_max_, w_.view(), bias_.view(), multiplier_.view(), y.mutable_view()};
  }

  QParams x_;
  Tensor w_, bias_, multiplier_;
  int32_t x_max_ = 0;
  Kernel<op::QLinear> kernel_;
  TunedLayer tuned_;
};

const QParams& grid_of_sums(const std::optional<QParams>& q) {
  if (!q) throw DTypeError("qlinear: x must be sums that qglobal_sum() has made");
  return *q;
}

}  // namespace

Tensor qlinear(const Tensor& sums, const Tensor& w, const Tensor& w_scale, const Tensor& bias,
               const QLinearOptions& o) {
  for (const Tensor& t : {sums, w, w_scale, bias}) detail::Operand("qlinear", "an operand", t);
  const PreparedQLinear layer(grid_of_sums(sums.qparams()), sums.size(-1), w, w_scale, bias, o);
  return recorded(opdef::qlinear, {sums, w, w_scale, bias}, o, layer(sums));
}

constinit const OpDef opdef::qlinear = costs(
    prepared_by(
        define_op<QLinearOptions, [](auto in, const auto& o) { return mininn::qlinear(in[0], in[1], in[2], in[3], o); },
                  [](auto in, const auto& o) {
                    const Shape &x = in[0].shape, &w = in[1].shape;
                    if (x.rank() != 2 || w.rank() != 2 || x[1] != w[1])
                      throw ShapeError(message("qlinear: [N,K] x [O,K] expected, not ", x, " x ", w));
                    if (in[0].dtype != DType::i32) throw DTypeError("qlinear: x must be i32");
                    grid_of_sums(in[0].qparams);
                    check_pixels(o.pixels);
                    detail::check_info("qlinear", "w", in[1], {w, DType::i8});
                    detail::check_info("qlinear", "w_scale", in[2], {{w[0]}, DType::f32});
                    detail::check_info("qlinear", "bias", in[3], {{w[0]}, DType::i32});
                    return TensorInfo{{x[0], w[0]}, DType::f32};
                  }>("qlinear", {4, 4}),
        [](const Preparation& p) -> std::shared_ptr<const PreparedOp> {
          for (const size_t i : {1, 2, 3})
            if (!p.constants[i]) return nullptr;
          return std::make_shared<PreparedQLinear>(grid_of_sums(p.in[0].qparams), p.in[0].shape[1], p.constants[1],
                                                   p.constants[2], p.constants[3], from_attrs<QLinearOptions>(p.attrs));
        }),
    layer_work);

}  // namespace mininn
