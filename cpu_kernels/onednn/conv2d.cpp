// Convolutions by oneDNN. Activations stay channels-last; the weights go through a reorder into whatever blocked layout
// the implementation wants: on every call (9 * C^2 numbers, little beside the convolution unless batch and map are
// small), or once.
//
// Packed: the Key of the call that they were packed for, and the weights in the layout that oneDNN chose for it. It may
// choose another one for another batch size or number of threads, so a call with another key reorders w.
#include <algorithm>
#include <cstring>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/onednn/engine.h"
#include "cpu_kernels/onednn/kernels.h"
#include "ops/elementwise.h"

namespace mininn::cpu::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

// Everything that a compiled convolution depends on. oneDNN splits the work when it compiles, so the number of threads
// belongs to it.
struct Key {
  Conv2dGeometry g;
  int64_t dtype, w_dtype, bias, residual, threads;
  int64_t packed;  // the weights come in oneDNN's layout
};
constexpr size_t kHeaderBytes = round_up(sizeof(Key), 64);

// The shapes of one convolution as oneDNN wants them said.
struct Descs {
  // `w`: of weights and bias as they are given; of bf16 convolutions oneDNN wants them in bf16, but makes their
  // gradient of either type.
  Descs(const Conv2dGeometry& g, DType t, DType w, DType any_w)
      : src(dense({g.n, g.ic, g.ih, g.iw}, t, Tag::nhwc)),
        dst(dense({g.n, g.oc, g.oh, g.ow}, t, Tag::nhwc)),
        bias(dense({g.oc}, w, Tag::a)),
        weights(dense(weight_sizes(g), w, g.groups > 1 ? Tag::goihw : Tag::oihw)),
        any_weights(dense(weight_sizes(g), any_w, Tag::any)),
        strides{g.stride_h, g.stride_w},
        dilations{g.dil_h - 1, g.dil_w - 1},  // 0 is dense
        padding{g.pad_h, g.pad_w} {}

  static memory::dims weight_sizes(const Conv2dGeometry& g) {
    if (g.groups > 1) return {g.groups, g.ocg(), g.icg(), g.kh, g.kw};
    return {g.oc, g.ic, g.kh, g.kw};
  }

  memory::desc src, dst, bias, weights, any_weights;
  memory::dims strides, dilations, padding;
};

dnnl::convolution_forward::primitive_desc forward_desc(const Descs& d, dnnl::prop_kind kind, const memory::desc& bias,
                                                       const dnnl::primitive_attr& attr) {
  return {engine(),  kind,          dnnl::algorithm::convolution_direct,
          d.src,     d.any_weights, bias,
          d.dst,     d.strides,     d.dilations,
          d.padding, d.padding,     attr};
}

dnnl::convolution_forward::primitive_desc inference_desc(const Key& k, const Descs& d) {
  dnnl::post_ops after;
  if (k.residual) after.append_binary(dnnl::algorithm::binary_add, d.dst);
  dnnl::primitive_attr attr = attributes();
  attr.set_post_ops(after);
  return forward_desc(d, dnnl::prop_kind::forward_inference, k.bias ? d.bias : memory::desc(), attr);
}

Descs descs(const Key& k) { return {k.g, DType(k.dtype), DType(k.w_dtype), DType(k.dtype)}; }

Program make_fwd(const Key& k) {
  const Descs d = descs(k);
  const auto desc = inference_desc(k, d);
  std::vector<Operand> operands{{DNNL_ARG_SRC, d.src},
                                {DNNL_ARG_WEIGHTS, k.packed ? desc.weights_desc() : d.weights},
                                {DNNL_ARG_DST, d.dst, true}};
  if (k.bias) operands.push_back({DNNL_ARG_BIAS, d.bias});
  if (k.residual) operands.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, d.dst});
  return {"conv2d_fwd", desc, dnnl::convolution_forward(desc), operands};
}

Program make_bwd_data(const Key& k) {
  const Descs d = descs(k);
  const auto hint = forward_desc(d, dnnl::prop_kind::forward_training, memory::desc(), attributes());
  const dnnl::convolution_backward_data::primitive_desc desc(engine(), dnnl::algorithm::convolution_direct, d.src,
                                                             d.any_weights, d.dst, d.strides, d.dilations, d.padding,
                                                             d.padding, hint, attributes());
  return {"conv2d_bwd_data",
          desc,
          dnnl::convolution_backward_data(desc),
          {{DNNL_ARG_DIFF_DST, d.dst}, {DNNL_ARG_WEIGHTS, d.weights}, {DNNL_ARG_DIFF_SRC, d.src, true}}};
}

Program make_bwd_weights(const Key& k) {
  const auto hint = forward_desc(descs(k), dnnl::prop_kind::forward_training, memory::desc(), attributes());
  const Descs d(k.g, DType(k.dtype), DType(k.w_dtype), DType(k.w_dtype));
  const dnnl::convolution_backward_weights::primitive_desc desc(engine(), dnnl::algorithm::convolution_direct, d.src,
                                                                d.any_weights, d.dst, d.strides, d.dilations, d.padding,
                                                                d.padding, hint, attributes());
  return {"conv2d_bwd_weights",
          desc,
          dnnl::convolution_backward_weights(desc),
          {{DNNL_ARG_SRC, d.src}, {DNNL_ARG_DIFF_DST, d.dst}, {DNNL_ARG_DIFF_WEIGHTS, d.weights, true}}};
}

Key fwd_key(const op::Conv2dFwd& a, bool packed) {
  return {a.g, int64_t(a.x.dtype), int64_t(a.w.dtype), bool(a.bias), bool(a.residual), num_threads(), packed};
}

Program& fwd_program(const Key& key) {
  thread_local PlanCache<Key, Program> cache;
  return cache.get(key, [&] { return program_or_refusal("conv2d_fwd", key.threads, [&] { return make_fwd(key); }); });
}
Program& bwd_data_program(const op::Conv2dBwdData& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.g, int64_t(a.gx.dtype), int64_t(a.w.dtype), 0, 0, num_threads(), 0};
  return cache.get(
      key, [&] { return program_or_refusal("conv2d_bwd_data", key.threads, [&] { return make_bwd_data(key); }); });
}
Program& bwd_weights_program(const op::Conv2dBwdWeights& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.g, int64_t(a.x.dtype), int64_t(a.gw.dtype), 0, 0, num_threads(), 0};
  return cache.get(key, [&] {
    return program_or_refusal("conv2d_bwd_weights", key.threads, [&] { return make_bwd_weights(key); });
  });
}

Refusal refuse(const Conv2dGeometry& g, DType t, DType w) {
  if (t != DType::f32 && t != DType::bf16) return {"takes f32 and bf16 only"};
  if (w != t && w != DType::f32) return {"takes weights of the same dtype or f32 only"};
  if (g.n * g.ic * g.ih * g.iw * g.oc * g.oh * g.ow == 0) return {"takes no empty tensors"};
  return {};
}

Refusal check_fwd(const op::Conv2dFwd& a) { return refuse(a.g, a.x.dtype, a.w.dtype); }
Refusal check_bwd_data(const op::Conv2dBwdData& a) { return refuse(a.g, a.gx.dtype, a.w.dtype); }

// Whether some position of a kernel along one axis falls on padding in every window.
bool has_idle_tap(int64_t taps, int64_t dilation, int64_t stride, int64_t pad, int64_t in, int64_t out) {
  for (int64_t k = 0; k < taps; ++k) {
    bool meets = false;
    for (int64_t o = 0; o < out && !meets; ++o) {
      const int64_t at = o * stride - pad + k * dilation;
      meets = at >= 0 && at < in;
    }
    if (!meets) return true;
  }
  return false;
}

Refusal check_bwd_weights(const op::Conv2dBwdWeights& a) {
  if (const Refusal r = refuse(a.g, a.x.dtype, a.gw.dtype)) return r;
  const Conv2dGeometry& g = a.g;
  // oneDNN 3.2 reads memory there that nothing has written: the gradient of such a weight is 0.
  if (a.x.dtype == DType::bf16 && (has_idle_tap(g.kh, g.dil_h, g.stride_h, g.pad_h, g.ih, g.oh) ||
                                   has_idle_tap(g.kw, g.dil_w, g.stride_w, g.pad_w, g.iw, g.ow)))
    return {"in bf16 some weights meet padding only"};
  if (a.x.dtype == DType::bf16 && g.dil_h > 1) return {"in bf16 oneDNN 3.2 makes wrong sums of rows that lie apart"};
  // Its issue 6035, in 3.2 and in 3.12: it writes behind its working memory.
  if (g.kh * g.kw == 1 && std::max(g.stride_h, g.stride_w) > 1 && g.icg() < 16)
    return {"oneDNN writes outside of its memory where a 1x1 kernel with a stride reads less than 16 channels"};
  return {a.g.n * a.g.oh * a.g.ow > 2 * kLongestSum ? kSumTooLong : nullptr};  // several threads share it
}
Refusal admits_fwd(const op::Conv2dFwd& a) { return fwd_program(fwd_key(a, false)).refusal(); }
Refusal admits_bwd_data(const op::Conv2dBwdData& a) { return bwd_data_program(a).refusal(); }
Refusal admits_bwd_weights(const op::Conv2dBwdWeights& a) { return bwd_weights_program(a).refusal(); }

constexpr Traits kRounding{.family = Family::vendor, .rounds_weights = true};

// In f32 own direct kernels, which are asked later, are faster but for convolutions with few products per number, where
// oneDNN spends less time on fetching pixels. The limits are measured (docs/journal.md, 2026-11-30). Mixed precision,
// where the processor does not multiply bf16, goes faster in f32.
bool pays(DType activations, DType weights, bool beats_direct) {
  if (activations != weights) return has(Isa::avx512bf16);
  return activations != DType::f32 || beats_direct || !has(Isa::avx2) || preference() == Preference::vendor;
}
// Whether a pixel has few products: `columns` sums of `length` of them each.
bool few_products(int64_t length, int64_t columns) { return length < 128 || length * columns < 1 << 15; }

bool fwd_pays(const op::Conv2dFwd& a) {
  return pays(a.x.dtype, a.w.dtype, few_products(a.g.icg() * a.g.kh * a.g.kw, a.g.ocg()));
}
bool bwd_data_pays(const op::Conv2dBwdData& a) {
  return pays(a.gy.dtype, a.w.dtype, few_products(a.g.ocg() * a.g.kh * a.g.kw, a.g.icg()));
}
bool bwd_weights_pays(const op::Conv2dBwdWeights& a) {
  return pays(a.x.dtype, a.gw.dtype, a.g.kh * a.g.kw == 1 || a.g.icg() < 16 || a.g.ocg() < 16);
}

Tensor pack_fwd(const op::Conv2dFwd& a) {
  const Key key = fwd_key(a, true);
  const OpenMpThreads pool{int(key.threads)};
  return checked("conv2d_fwd pack", [&] {
    const Descs d = descs(key);
    const memory::desc wanted = inference_desc(key, d).weights_desc();
    Tensor packed = Tensor::empty({int64_t(kHeaderBytes + wanted.get_size())}, DType::u8);
    std::byte* const to = packed.mutable_view().data;
    std::memcpy(to, &key, sizeof key);
    reorder(d.weights, a.w.data, wanted, to + kHeaderBytes);
    return packed;
  });
}

void run_fwd(const op::Conv2dFwd& a, const ExecContext&) {
  Key key = fwd_key(a, true);
  const bool packed = a.packed && std::memcmp(a.packed, &key, sizeof key) == 0;
  key.packed = packed;
  const std::byte* const w = packed ? a.packed + kHeaderBytes : a.w.data;
  Program& p = fwd_program(key);
  if (a.bias && a.residual)
    p.run({a.x.data, w, a.y.data, a.bias.data, a.residual.data});
  else if (a.bias)
    p.run({a.x.data, w, a.y.data, a.bias.data});
  else if (a.residual)
    p.run({a.x.data, w, a.y.data, a.residual.data});
  else
    p.run({a.x.data, w, a.y.data});
  // Not by oneDNN, whose ReLU makes NaN 0.
  if (a.relu) kernels<op::UnaryFwd<op::Relu>>().run({a.y, a.y}, Device::cpu());
}
void run_bwd_data(const op::Conv2dBwdData& a, const ExecContext&) {
  bwd_data_program(a).run({a.gy.data, a.w.data, a.gx.data});
}
void run_bwd_weights(const op::Conv2dBwdWeights& a, const ExecContext&) {
  bwd_weights_program(a).run({a.x.data, a.gy.data, a.gw.data});
}

}  // namespace

const Kernel<op::Conv2dFwd> conv2d_fwd{"onednn.auto", kRounding, check_fwd, run_fwd, pack_fwd, admits_fwd, fwd_pays};
const Kernel<op::Conv2dBwdData> conv2d_bwd_data{"onednn.auto", kRounding,       check_bwd_data, run_bwd_data,
                                                nullptr,       admits_bwd_data, bwd_data_pays};
const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights{
    "onednn.auto", kOneDnn, check_bwd_weights, run_bwd_weights, nullptr, admits_bwd_weights, bwd_weights_pays};

}  // namespace mininn::cpu::onednn
