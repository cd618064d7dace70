// Mean pooling by oneDNN. Maximum pooling is not here: oneDNN keeps positions in a form of its own and loses NaN.
#include "core/parallel.h"
#include "cpu_kernels/onednn/engine.h"
#include "cpu_kernels/onednn/kernels.h"

namespace mininn::cpu::onednn {
namespace {

using dnnl::memory;

constexpr int64_t kLongestMean = 64;  // pixels that are added up in one chain of f32, as by our own kernels

struct Key {
  Pool2dGeometry g;
  int64_t dtype, count_include_pad, backward, threads;
};

dnnl::pooling_forward::primitive_desc forward_desc(const Key& k, const memory::desc& x, const memory::desc& y) {
  const Pool2dGeometry& g = k.g;
  return {
      engine(),
      k.backward ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference,
      k.count_include_pad ? dnnl::algorithm::pooling_avg_include_padding : dnnl::algorithm::pooling_avg_exclude_padding,
      x,
      y,
      {g.stride_h, g.stride_w},
      {g.kh, g.kw},
      {0, 0},  // dilation
      {g.pad_h, g.pad_w},
      {g.pad_h, g.pad_w},
      attributes()};
}

Program make(const Key& k) {
  const Pool2dGeometry& g = k.g;
  const auto tag = memory::format_tag::nhwc;
  const memory::desc x = dense({g.n, g.c, g.ih, g.iw}, DType(k.dtype), tag);
  const memory::desc y = dense({g.n, g.c, g.oh, g.ow}, DType(k.dtype), tag);
  const auto forward = forward_desc(k, x, y);
  if (!k.backward)
    return {"avg_pool2d_fwd", forward, dnnl::pooling_forward(forward), {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y, true}}};
  const dnnl::pooling_backward::primitive_desc desc(engine(), forward.get_algorithm(), x, y, {g.stride_h, g.stride_w},
                                                    {g.kh, g.kw}, {0, 0}, {g.pad_h, g.pad_w}, {g.pad_h, g.pad_w},
                                                    forward, attributes());
  return {"avg_pool2d_bwd", desc, dnnl::pooling_backward(desc), {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_SRC, x, true}}};
}

Program& program(const Pool2dGeometry& g, DType t, bool count_include_pad, bool backward) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{g, int64_t(t), count_include_pad, backward, num_threads()};
  return cache.get(key, [&] { return program_or_refusal("avg_pool2d", key.threads, [&] { return make(key); }); });
}

Refusal refuse(const Pool2dGeometry& g, DType t) {
  if (t != DType::f32 && t != DType::bf16) return {"takes f32 and bf16 only"};
  if (g.n * g.c * g.oh * g.ow == 0) return {"takes no empty tensors"};
  return {};
}

Refusal check_fwd(const op::AvgPool2dFwd& a) {
  if (const Refusal r = refuse(a.g, a.x.dtype)) return r;
  return {a.g.kh * a.g.kw > kLongestMean ? kSumTooLong : nullptr};
}
Refusal check_bwd(const op::AvgPool2dBwd& a) {
  if (const Refusal r = refuse(a.g, a.gy.dtype)) return r;
  if (a.gy.dtype == DType::bf16 && (a.g.kh > a.g.stride_h || a.g.kw > a.g.stride_w))
    return {"adds the gradients of windows that overlap in bf16"};
  return {};
}
Refusal admits_fwd(const op::AvgPool2dFwd& a) { return program(a.g, a.x.dtype, a.count_include_pad, false).refusal(); }
Refusal admits_bwd(const op::AvgPool2dBwd& a) { return program(a.g, a.gy.dtype, a.count_include_pad, true).refusal(); }

void run_fwd(const op::AvgPool2dFwd& a, const ExecContext&) {
  program(a.g, a.x.dtype, a.count_include_pad, false).run({a.x.data, a.y.data});
}
void run_bwd(const op::AvgPool2dBwd& a, const ExecContext&) {
  program(a.g, a.gy.dtype, a.count_include_pad, true).run({a.gy.data, a.gx.data});
}

}  // namespace

const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd{"onednn.auto", kOneDnn, check_fwd, run_fwd, nullptr, admits_fwd};
const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd{"onednn.auto", kOneDnn, check_bwd, run_bwd, nullptr, admits_bwd};

}  // namespace mininn::cpu::onednn
