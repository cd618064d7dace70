// Convolutions by cuDNN. Its engines want weights channels-last: they are copied on every call, as is their gradient,
// few numbers beside those that a convolution reads and writes.
//
// f32 is multiplied as it is. Beside bf16, weights of f32 are rounded to bf16, and cuDNN 9 makes their gradient in bf16
// only: the sum is one of f32 and is rounded at its end. Own kernels do not round it, so they go first there.
#include <bit>
#include <initializer_list>

#include "core/memory_ops.h"
#include "core/plan_cache.h"
#include "cuda/backend.h"
#include "cuda/cudnn/kernels.h"
#include "cuda/cudnn/plan.h"
#include "cuda/library.h"
#include "ops/elementwise.h"

namespace mininn::cuda::cudnn {
namespace {

struct Key {
  Problem problem;
  int64_t device;
};

const Plan& plan(const Problem& p, int device) {
  thread_local PlanCache<Key, Plan> cache;
  return cache.get({p, device}, [&] { return Plan(p, device); });
}

// In f32 a residual may as well be added behind it, by an own kernel: cuDNN has to compile one that adds it itself, for
// seconds. bf16 must not be rounded in between.
bool adds_residual(const op::Conv2dFwd& a) { return a.residual && a.x.dtype == DType::bf16; }

Problem problem(const op::Conv2dFwd& a) {
  return {a.g, Pass::forward, int64_t(a.x.dtype), a.bias ? int64_t(a.bias.dtype) : -1, adds_residual(a)};
}
Problem problem(const op::Conv2dBwdData& a) { return {a.g, Pass::data, int64_t(a.gy.dtype), -1, 0}; }
Problem problem(const op::Conv2dBwdWeights& a) { return {a.g, Pass::weights, int64_t(a.gy.dtype), -1, 0}; }

// `terms`: of a sum.
Refusal refuse(const Conv2dGeometry& g, DType t, DType w, int64_t terms, std::initializer_list<const void*> operands) {
  if (t != DType::f32 && t != DType::bf16) return {"takes f32 and bf16 only"};
  if (w != t && w != DType::f32) return {"takes weights of the same dtype or f32 only"};
  if (g.n * g.ic * g.ih * g.iw * g.oc * g.oh * g.ow == 0) return {"takes no empty tensors"};
  if (terms > kLongestSum) return {kSumTooLong};
  for (const void* p : operands)
    if (std::bit_cast<uintptr_t>(p) % 16 != 0) return {"needs operands at multiples of 16 bytes"};
  return {};
}
Refusal check(const op::Conv2dFwd& a) {
  return refuse(a.g, a.x.dtype, a.w.dtype, a.g.icg() * a.g.kh * a.g.kw,
                {a.x.data, a.w.data, a.y.data, a.bias.data, a.residual.data});
}
Refusal check(const op::Conv2dBwdData& a) {
  return refuse(a.g, a.gy.dtype, a.w.dtype, a.g.ocg() * a.g.kh * a.g.kw, {a.gx.data, a.w.data, a.gy.data});
}
Refusal check(const op::Conv2dBwdWeights& a) {
  const int64_t terms = a.g.n * a.g.oh * a.g.ow / 2;  // several blocks share a sum
  return refuse(a.g, a.gy.dtype, a.gw.dtype, terms, {a.x.data, a.gw.data, a.gy.data});
}

template <class Args>
Refusal admits(const Args& a) {
  return plan(problem(a), current_device()).refusal();
}

// The plan on the device of this call, which is current then.
template <class Args>
const Plan& plan_for(const Args& a, const ExecContext& at) {
  (void)stream_of(at.stream);
  const Plan& p = plan(problem(a), at.device.index);
  for (const Refusal& r : {check(a), p.refusal()})  // addresses and device may be others than those that were asked for
    if (r) throw KernelError(message("cudnn.auto: ", r.why));
  return p;
}

// Weights in cuDNN's layout and type. OIHW with one tap or one channel has it.
bool as_they_are(const CView& w, DType t) { return w.dtype == t && (w.shape[1] == 1 || w.shape[2] * w.shape[3] == 1); }
Tensor empty_weights(const CView& w, DType t, const ExecContext& at) {
  return Tensor::empty(w.shape, t, at.device, MemoryFormat::channels_last);
}
// `memory` keeps them for the length of the call.
const std::byte* weights(const CView& w, DType t, const ExecContext& at, Tensor& memory) {
  if (as_they_are(w, t)) return w.data;
  memory = empty_weights(w, t, at);
  kernels<op::Copy>().run({w, memory.mutable_view()}, at.device);
  return memory.view().data;
}

void run(const op::Conv2dFwd& a, const ExecContext& at) {
  const Plan& p = plan_for(a, at);
  Tensor w;
  const std::byte* const residual = adds_residual(a) ? a.residual.data : nullptr;
  p.run({a.x.data, weights(a.w, a.x.dtype, at, w), a.y.data, a.bias.data, residual}, at);
  if (a.residual && !residual) kernels<op::Accumulate>().run({a.y, a.residual, a.y}, at.device);
  // Not by cuDNN, whose ReLU makes NaN 0.
  if (a.relu) kernels<op::UnaryFwd<op::Relu>>().run({a.y, a.y}, at.device);
}

void run(const op::Conv2dBwdData& a, const ExecContext& at) {
  const Plan& p = plan_for(a, at);
  Tensor w;
  p.run({a.gx.data, weights(a.w, a.gy.dtype, at, w), a.gy.data}, at);
}

void run(const op::Conv2dBwdWeights& a, const ExecContext& at) {
  const Plan& p = plan_for(a, at);
  if (as_they_are(a.gw, a.gy.dtype)) return p.run({a.x.data, a.gw.data, a.gy.data}, at);
  const Tensor gw = empty_weights(a.gw, a.gy.dtype, at);
  p.run({a.x.data, gw.view().data, a.gy.data}, at);
  kernels<op::Copy>().run({gw.view(), a.gw}, at.device);
}

bool pays(const op::Conv2dBwdWeights& a) { return a.gw.dtype == a.gy.dtype || preference() == Preference::vendor; }

constexpr Traits kRounding{.family = Family::vendor, .rounds_weights = true};

}  // namespace

constinit const Kernel<op::Conv2dFwd> conv2d_fwd{"cudnn.auto", kRounding, check, run, nullptr, admits};
constinit const Kernel<op::Conv2dBwdData> conv2d_bwd_data{"cudnn.auto", kRounding, check, run, nullptr, admits};
constinit const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights{"cudnn.auto", kRounding, check, run,
                                                                nullptr,      admits,    pays};

}  // namespace mininn::cuda::cudnn
