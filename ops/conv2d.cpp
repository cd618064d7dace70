#include "ops/conv2d.h"

#include "core/autograd.h"
#include "core/tuner.h"
#include "ops/cast.h"
#include "ops/create.h"
#include "ops/operand.h"
#include "ops/reduce.h"
#include "ops/window.h"
#include "ops/work.h"

namespace mininn {
namespace {

using detail::dense, detail::Operand, detail::optional_view;

constexpr auto kChannelsLast = MemoryFormat::channels_last;

Shape x_shape(const Conv2dGeometry& g) { return {g.n, g.ic, g.ih, g.iw}; }
Shape w_shape(const Conv2dGeometry& g) { return {g.oc, g.icg(), g.kh, g.kw}; }
Shape y_shape(const Conv2dGeometry& g) { return {g.n, g.oc, g.oh, g.ow}; }

struct Conv2dBackward {
  static constexpr const char* op = "conv2d";
  Conv2dGeometry g;
  Saved x, w;

  Grads backward(const Tensor& gy, const Wants& wants) const {
    const Device device = gy.device();
    const Tensor gy_dense = dense(gy, kChannelsLast);
    Grads grads(3);
    if (wants[0]) {
      grads[0] = Tensor::empty(x_shape(g), gy.dtype(), device, kChannelsLast);
      kernels<op::Conv2dBwdData>().run({g, gy_dense.view(), w.get().view(), grads[0].mutable_view()}, device);
    }
    if (wants[1]) {
      grads[1] = Tensor::empty(w_shape(g), w.get().dtype(), device);
      kernels<op::Conv2dBwdWeights>().run({g, x.get().view(), gy_dense.view(), grads[1].mutable_view()}, device);
    }
    if (wants[2]) grads[2] = sum(cast(gy_dense, w.get().dtype()), {0, 2, 3});
    return grads;
  }
};

// The operands as kernels take them, all checked.
struct Operands {
  Conv2dGeometry g;
  Tensor x, w, bias;

  Operands(const char* op, const Tensor& x_, const Tensor& w_, const Tensor& bias_, const Conv2dParams& o) {
    const Operand in = Operand(op, "x", x_).floating(), weights = Operand(op, "w", w_).parameter_of(in);
    g = Conv2dGeometry::make(op, x_.shape(), w_.shape(), o);
    x = in.dense(kChannelsLast);
    w = weights.dense();
    if (bias_) bias = Operand(op, "bias", bias_).beside(in).like(weights).shape({g.oc}).dense();
  }

  // By `chosen`, with what it has packed (undefined: nothing), if it takes the call and no other is forced; else as the
  // table says.
  Tensor run(const Tensor& residual, bool relu, const Kernel<op::Conv2dFwd>* chosen = nullptr,
             const Tensor& packed = {}) const {
    Tensor y = Tensor::empty(y_shape(g), x.dtype(), x.device(), kChannelsLast);
    op::Conv2dFwd a{g, x.view(), w.view(), optional_view(bias), optional_view(residual), relu, y.mutable_view()};
    if (chosen && (!detail::forced_kernel(a.op).empty() || chosen->refusal(a))) chosen = nullptr;
    if (chosen && packed) a.packed = packed.view().data;
    const auto& kernel = chosen ? *chosen : kernels<op::Conv2dFwd>().select(a, x.device());
    launch(kernel, a, x.device());
    return y;
  }
};

// `residual` as kernels take it, checked; undefined if it is.
Tensor checked_residual(const Operands& in, const Tensor& residual) {
  if (!residual) return {};
  const Operand x("conv2d_fused", "x", in.x);
  return Operand("conv2d_fused", "residual", residual).like(x).shape(y_shape(in.g)).dense(kChannelsLast);
}

void refuse_gradients(std::initializer_list<Tensor> operands) {
  if (!grad_enabled()) return;
  for (const Tensor& t : operands)
    if (t && t.requires_grad())
      throw AutogradError("conv2d_fused has no gradient: use conv2d, or call it under NoGradGuard");
}

TensorInfo infer(const char* op, std::span<const TensorInfo> in, const Conv2dParams& o) {
  const Conv2dGeometry g = Conv2dGeometry::make(op, in[0].shape, in[1].shape, o);
  const TensorInfo y{y_shape(g), in[0].dtype};
  const DType weights = y.dtype == DType::bf16 && in[1].dtype == DType::f32 ? DType::f32 : y.dtype;
  detail::check_info(op, "w", in[1], {w_shape(g), weights});
  detail::check_info(op, "bias", in[2], {{g.oc}, weights});
  if (in.size() > 3) detail::check_info(op, "residual", in[3], y);
  return y;
}

}  // namespace

const char* misfit(const Conv2dParams& o) {
  if (o.stride.h < 1 || o.stride.w < 1) return "the stride must be positive";
  if (o.padding.h < 0 || o.padding.w < 0) return "the padding must not be negative";
  if (o.dilation.h < 1 || o.dilation.w < 1) return "the dilation must be positive";
  if (o.groups < 1) return "there must be groups";
  return nullptr;
}

Conv2dGeometry Conv2dGeometry::make(const char* op, const Shape& x, const Shape& w, const Conv2dParams& o) {
  const auto fail = [&](const auto&... why) {
    throw ShapeError(message(op, ": x ", x, ", w ", w, ", stride [", o.stride.h, ",", o.stride.w, "], padding [",
                             o.padding.h, ",", o.padding.w, "], dilation [", o.dilation.h, ",", o.dilation.w,
                             "], groups ", o.groups, ": ", why...));
  };
  if (x.rank() != 4) fail("x must be [N,C,H,W]");
  if (w.rank() != 4) fail("w must be [O,C/groups,kh,kw]");
  if (x[0] < 0 || x[1] < 1 || x[2] < 1 || x[3] < 1) fail("C, H and W of x must be positive");
  if (w[0] < 1 || w[1] < 1 || w[2] < 1 || w[3] < 1) fail("all sizes of w must be positive");
  if (const char* why = misfit(o)) fail(why);
  if (x[1] % o.groups || w[0] % o.groups) fail("groups must divide both numbers of channels");
  if (x[1] / o.groups != w[1]) fail("w takes ", w[1], " input channels per group, x has ", x[1] / o.groups);

  Conv2dGeometry g;
  g.n = x[0], g.ic = x[1], g.ih = x[2], g.iw = x[3];
  g.oc = w[0], g.kh = w[2], g.kw = w[3];
  g.stride_h = o.stride.h, g.stride_w = o.stride.w;
  g.pad_h = o.padding.h, g.pad_w = o.padding.w;
  g.dil_h = o.dilation.h, g.dil_w = o.dilation.w;
  g.groups = o.groups;
  const auto extent = [&](int64_t taps, int64_t dilation) {
    return checked_add(op, checked_mul(op, taps - 1, dilation), 1);
  };
  g.oh = detail::window_positions(op, g.ih, g.pad_h, extent(g.kh, g.dil_h), g.stride_h);
  g.ow = detail::window_positions(op, g.iw, g.pad_w, extent(g.kw, g.dil_w), g.stride_w);
  if (g.oh == 0 || g.ow == 0) fail("the kernel is larger than the padded input");
  detail::require_addressable(op, g.n, g.ic, {g.ih + 2 * g.pad_h, g.iw + 2 * g.pad_w}, o.stride);
  return g;
}

std::string Conv2dGeometry::to_string() const {
  return message("n", n, " c", ic, ' ', ih, 'x', iw, " -> c", oc, ' ', oh, 'x', ow, " k", kh, 'x', kw, " s", stride_h,
                 'x', stride_w, " p", pad_h, 'x', pad_w, " d", dil_h, 'x', dil_w, " g", groups);
}

namespace op {

std::string Conv2dFwd::key() const {
  if (g.n == 0) return "";
  return message(g.to_string(), ' ', name(x.dtype), w.dtype == x.dtype ? "" : message('*', name(w.dtype)),
                 bias ? " bias" : "", residual ? " residual" : "", relu ? " relu" : "");
}

Rehearsal<Conv2dFwd> Conv2dFwd::rehearse() const {
  Rehearsal<Conv2dFwd> r{*this, {}, {}};
  Generator random(1);
  r.input = rand({x.size()}, random, x.dtype);
  r.args.x.data = r.input.view().data;
  if (residual) {
    r.others.push_back(rand({residual.size()}, random, residual.dtype));
    r.args.residual.data = r.others.back().view().data;
  }
  Tensor out = Tensor::empty({y.size()}, y.dtype);
  r.args.y.data = out.mutable_view().data;
  r.others.push_back(out);
  return r;
}

}  // namespace op

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const Conv2dParams& o) {
  const Operands in("conv2d", x, w, bias, o);
  return attach<Conv2dBackward>(in.run({}, false), {x, w, bias}, o, in.g, in.x, in.w);
}

Tensor conv2d_fused(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& residual, bool relu,
                    const Conv2dParams& o) {
  refuse_gradients({x, w, bias, residual});
  const Operands in("conv2d_fused", x, w, bias, o);
  return recorded(opdef::conv2d_fused, {x, w, bias, residual}, Conv2dFusedOptions{o, relu},
                  in.run(checked_residual(in, residual), relu));
}

namespace {

// use(args): a call with such operands, whose kernel is chosen and weights are packed by shapes alone: no activation is
// read.
template <class Use>
void with_sample(const TensorInfo& x, const Tensor& w, const Tensor& bias, bool residual, bool relu,
                 const Conv2dParams& o, const Use& use) {
  const auto unread = [&](const Shape& s) { return Tensor::empty(s, x.dtype, w.device(), kChannelsLast); };
  const Operands in("conv2d_fused", unread(x.shape), w, bias, o);
  Tensor y = unread(y_shape(in.g));
  use(op::Conv2dFwd{in.g, in.x.view(), in.w.view(), optional_view(in.bias), residual ? y.view() : CView(), relu,
                    y.mutable_view()});
}

std::shared_ptr<const PreparedOp> prepare(const Preparation& p, const Conv2dFusedOptions& o) {
  const auto is_constant = [&](size_t i) { return bool(p.constants[i]); };
  if (!is_constant(1) || (p.is_given(2) && !is_constant(2))) return nullptr;
  return std::make_shared<PackedConv2d>(p.in[0], p.constants[1], p.constants[2], p.is_given(3), o.relu, o.conv,
                                        p.between);
}

}  // namespace

PackedConv2d::PackedConv2d(const TensorInfo& x, const Tensor& w, const Tensor& bias, bool residual, bool relu,
                           const Conv2dParams& o, int64_t between)
    : x_(x), residual_(residual), relu_(relu), options_(o) {
  w_ = Operand("conv2d_fused", "w", w).dense();
  if (bias) bias_ = Operand("conv2d_fused", "bias", bias).dense();
  KernelChoice<op::Conv2dFwd> choice;
  with_sample(x_, w_, bias_, residual_, relu_, options_,
              [&](const op::Conv2dFwd& a) { choice = choose_kernel(a, w_.device(), between); });
  tuned_ = untyped(choice);
  take(*choice.kernel);
}

void PackedConv2d::take(const Kernel<op::Conv2dFwd>& kernel) {
  kernel_ = kernel;
  packed_ = {};
  if (kernel.pack)
    with_sample(x_, w_, bias_, residual_, relu_, options_, [&](const op::Conv2dFwd& a) { packed_ = kernel.pack(a); });
}

std::shared_ptr<const PreparedOp> PackedConv2d::with_kernel(const std::string& kernel) const {
  auto other = std::make_shared<PackedConv2d>(*this);
  other->tuned_.kernel = kernel;
  other->take(*kernel_named<op::Conv2dFwd>(kernel));
  return other;
}

Tensor PackedConv2d::operator()(const Tensor& x, const Tensor& residual) const {
  refuse_gradients({x, w_, bias_, residual});
  const Operands in("conv2d_fused", x, w_, bias_, options_);
  return in.run(checked_residual(in, residual), relu_, &kernel_, packed_);
}

constinit const OpDef opdef::conv2d = costs(
    prepared_by(define_op<Conv2dParams, [](auto in, const auto& o) { return mininn::conv2d(in[0], in[1], in[2], o); },
                          [](auto in, const auto& o) { return infer(Conv2dBackward::op, in, o); }>(Conv2dBackward::op,
                                                                                                   {3, 3, 0b100}),
                [](const Preparation& p) {
                  return prepare(p, {from_attrs<Conv2dParams>(p.attrs), false});
                }),
    layer_work);
constinit const OpDef opdef::conv2d_fused =
    costs(prepared_by(define_op<Conv2dFusedOptions,
                                [](auto in, const auto& o) {
                                  return mininn::conv2d_fused(in[0], in[1], in[2], in[3], o.relu, o.conv);
                                },
                                [](auto in, const auto& o) { return infer("conv2d_fused", in, o.conv); }>(
                          "conv2d_fused", {4, 4, 0b1100}),
                      [](const Preparation& p) { return prepare(p, from_attrs<Conv2dFusedOptions>(p.attrs)); }),
          layer_work);

}  // namespace mininn
