// 2-D convolution (cross-correlation, as in PyTorch): forward, input gradient and weight gradient.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/convert.h"
#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"
#include "ops/prepared.h"

namespace mininn {

// A height and a width; one number means both.
struct Hw {
  int64_t h = 0, w = 0;
  constexpr Hw(int64_t both) : h(both), w(both) {}
  constexpr Hw(int64_t h_, int64_t w_) : h(h_), w(w_) {}
  bool operator==(const Hw&) const = default;
};
inline AttrValue to_attr(const Hw& v) { return std::vector<int64_t>{v.h, v.w}; }
inline bool from_attr(const AttrValue& a, Hw& v) {
  const auto* const list = std::get_if<std::vector<int64_t>>(&a);
  if (!list || list->size() != 2) return false;
  v = {(*list)[0], (*list)[1]};
  return true;
}

// A convolution besides its operands; the layer's options are nn::Conv2dOptions.
struct Conv2dParams {
  Hw stride = 1;
  Hw padding = 0;  // zeros added on each side
  Hw dilation = 1;
  int64_t groups = 1;
};
template <class F>
void each_field(Conv2dParams& o, const F& field) {
  field("stride", o.stride);
  field("padding", o.padding);
  field("dilation", o.dilation);
  field("groups", o.groups);
}

// Why they make no convolution of whatever input; null if nothing is wrong.
const char* misfit(const Conv2dParams& o);

// All sizes of one convolution.
struct Conv2dGeometry {
  int64_t n = 0, ic = 0, ih = 0, iw = 0;  // input  [n, ic, ih, iw]
  int64_t oc = 0, oh = 0, ow = 0;         // output [n, oc, oh, ow]
  int64_t kh = 0, kw = 0;                 // weight [oc, ic/groups, kh, kw]
  int64_t stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, dil_h = 1, dil_w = 1, groups = 1;

  // Checks the shapes and options and derives oh and ow. Throws ShapeError naming `op` and all shapes.
  static Conv2dGeometry make(const char* op, const Shape& x, const Shape& w, const Conv2dParams& o);

  constexpr int64_t icg() const { return ic / groups; }
  constexpr int64_t ocg() const { return oc / groups; }
  constexpr int64_t macs() const { return n * oc * oh * ow * icg() * kh * kw; }  // nominal: padding counts
  // "n1 c32 8x8 -> c32 8x8 k3x3 s1x1 p1x1 d1x1 g1"
  std::string to_string() const;
  bool operator==(const Conv2dGeometry&) const = default;
};

namespace op {

// What kernels get. The ops pass x, y, gx, gy and residual channels-last without gaps, and w and gw contiguous OIHW;
// bias is [oc] contiguous or absent. One floating dtype throughout, or bf16 with w, gw and bias f32 (mixed precision):
// products are then added up in f32 at least, and w may be rounded to bf16 before, gw after.
//
// y = act(conv(x, w) + bias + residual); residual is absent, or shaped like y, and act is ReLU or nothing.
struct Conv2dFwd {
  static constexpr std::string_view op = "conv2d_fwd";
  Conv2dGeometry g;
  CView x, w, bias, residual;
  bool relu = false;
  View y;
  // What the chosen kernel's pack() made of w. Null: run() packs w itself, if it needs to; the results are the same
  // bits. With it run() may read w after all.
  const std::byte* packed = nullptr;

  // For core/tuner.h, which says what they are.
  std::string key() const;
  Rehearsal<Conv2dFwd> rehearse() const;
};
struct Conv2dBwdData {  // gx = d(sum(gy * y)) / dx
  static constexpr std::string_view op = "conv2d_bwd_data";
  Conv2dGeometry g;
  CView gy, w;
  View gx;
};
struct Conv2dBwdWeights {  // gw = d(sum(gy * y)) / dw
  static constexpr std::string_view op = "conv2d_bwd_weights";
  Conv2dGeometry g;
  CView x, gy;
  View gw;
};

// Calls fn.template operator()<T, W>() with the types of images and of weights.
template <class Fn>
void with_conv2d_types(DType images, DType weights, const Fn& fn) {
  if (images != weights) return fn.template operator()<bf16, float>();
  with_floating(images, [&]<class T>() { fn.template operator()<T, T>(); });
}

}  // namespace op

// [N,C,H,W] x [O,C/groups,kh,kw] (+ [O]) -> [N,O,oh,ow], channels-last.
//   oh = (H + 2 pad - dil (kh - 1) - 1) / stride + 1
// `bias` may be undefined. f32, f64, bf16; beside an x of bf16 w and bias may be f32, as mixed precision has them
// (Micikevicius et al. 2018), and so are their gradients then. Differentiable in x, w and bias. Throws ShapeError,
// DTypeError, DeviceError.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias, const Conv2dParams& o = {});

// The inference form: act(conv2d(x, w, bias) + residual) in one pass. Not differentiable (throws AutogradError if a
// gradient would be needed); bias and residual may be undefined.
Tensor conv2d_fused(const Tensor& x, const Tensor& w, const Tensor& bias, const Tensor& residual, bool relu,
                    const Conv2dParams& o = {});

struct Conv2dFusedOptions {
  Conv2dParams conv;
  bool relu = false;
};
template <class F>
void each_field(Conv2dFusedOptions& o, const F& field) {
  each_field(o.conv, field);
  field("relu", o.relu);
}

namespace opdef {
extern const OpDef conv2d, conv2d_fused;
}

// conv2d_fused for many calls: its kernel is chosen and the weights are packed ahead of them. w and bias must not
// change while it lives. Any number of threads may call it at once.
class PackedConv2d final : public PreparedOp {
 public:
  // Chooses for such an x at this moment, by the process's tuner (core/tuner.h), where `between` is the bytes
  // that the rest of the network reads between two calls; without tuning as conv2d_fused would. `residual`: calls will
  // bring one. Throws what conv2d_fused throws for such operands, except AutogradError, and ValueError if MININN_TUNE
  // is neither on nor off.
  PackedConv2d(const TensorInfo& x, const Tensor& w, const Tensor& bias, bool residual, bool relu,
               const Conv2dParams& o = {}, int64_t between = 0);

  // The bits of conv2d_fused(x, w, bias, residual, relu, o) by the chosen kernel. A call that it does not take, or for
  // which a kernel is forced (ForceKernel), goes where conv2d_fused would.
  Tensor operator()(const Tensor& x, const Tensor& residual = {}) const;

  Tensor call(std::span<const Tensor> in) const override { return (*this)(in[0], in.size() > 3 ? in[3] : Tensor()); }
  const TunedLayer& tuned() const override { return tuned_; }
  Tensor packed() const override { return packed_; }
  std::shared_ptr<const PreparedOp> with_kernel(const std::string& kernel) const override;

 private:
  void take(const Kernel<op::Conv2dFwd>& kernel);

  TensorInfo x_;  // the sample
  Tensor w_, bias_;
  bool residual_, relu_;
  Conv2dParams options_;
  TunedLayer tuned_;
  Kernel<op::Conv2dFwd> kernel_;
  Tensor packed_;  // undefined where that kernel packs nothing
};

}  // namespace mininn
