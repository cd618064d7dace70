// Batch normalisation by oneDNN, but for a batch's own statistics: it adds up the rows in long chains of f32, and loses
// the variance of channels whose mean is large. [rows, c] goes in as channels-last images of one pixel. oneDNN speaks
// of variances where ours are reciprocal standard deviations; c numbers are converted before or after.
#include <bit>
#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/onednn/engine.h"
#include "cpu_kernels/onednn/kernels.h"

namespace mininn::cpu::onednn {
namespace {

using dnnl::memory;
using dnnl::normalization_flags;
using Tag = memory::format_tag;

struct Key {
  int64_t rows, c, dtype, batch_statistics, threads;
  uint64_t eps_bits;  // keys are compared by their bytes
};

memory::desc image(const Key& k) { return dense({1, k.c, k.rows, 1}, DType(k.dtype), Tag::nhwc); }
memory::desc channels(const Key& k) { return dense({k.c}, DType::f32, Tag::a); }

normalization_flags flags(const Key& k) {
  const auto affine = normalization_flags::use_scale | normalization_flags::use_shift;
  return k.batch_statistics ? affine : affine | normalization_flags::use_global_stats;
}

Program make_fwd(const Key& k) {
  const dnnl::batch_normalization_forward::primitive_desc desc(engine(), dnnl::prop_kind::forward_inference, image(k),
                                                               image(k), float(std::bit_cast<double>(k.eps_bits)),
                                                               flags(k), attributes());
  return {"batch_norm_fwd",
          desc,
          dnnl::batch_normalization_forward(desc),
          {{DNNL_ARG_SRC, image(k)},
           {DNNL_ARG_SCALE, channels(k)},
           {DNNL_ARG_SHIFT, channels(k)},
           {DNNL_ARG_MEAN, channels(k)},
           {DNNL_ARG_VARIANCE, channels(k)},
           {DNNL_ARG_DST, image(k), true}}};
}

// oneDNN adds eps to the variance it is given. Ours comes from rstd, so eps is in it already: 0 here.
Program make_bwd(const Key& k) {
  const dnnl::batch_normalization_forward::primitive_desc hint(engine(), dnnl::prop_kind::forward_training, image(k),
                                                               image(k), 0.0f, flags(k), attributes());
  const dnnl::batch_normalization_backward::primitive_desc desc(engine(), dnnl::prop_kind::backward, image(k), image(k),
                                                                image(k), 0.0f, flags(k), hint, attributes());
  return {"batch_norm_bwd",
          desc,
          dnnl::batch_normalization_backward(desc),
          {{DNNL_ARG_SRC, image(k)},
           {DNNL_ARG_DIFF_DST, image(k)},
           {DNNL_ARG_SCALE, channels(k)},
           {DNNL_ARG_MEAN, channels(k)},
           {DNNL_ARG_VARIANCE, channels(k)},
           {DNNL_ARG_DIFF_SRC, image(k), true},
           {DNNL_ARG_DIFF_SCALE, channels(k), true},
           {DNNL_ARG_DIFF_SHIFT, channels(k), true}}};
}

Program& fwd_program(const op::BatchNormFwdEval& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.rows, a.c, int64_t(a.x.dtype), false, num_threads(), std::bit_cast<uint64_t>(a.eps)};
  return cache.get(key,
                   [&] { return program_or_refusal("batch_norm_fwd", key.threads, [&] { return make_fwd(key); }); });
}
Program& bwd_program(const op::BatchNormBwd& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.rows, a.c, int64_t(a.x.dtype), a.training, num_threads(), 0};
  return cache.get(key,
                   [&] { return program_or_refusal("batch_norm_bwd", key.threads, [&] { return make_bwd(key); }); });
}

Refusal refuse(int64_t rows, int64_t c, DType t) {
  if (t != DType::f32 && t != DType::bf16) return {"takes f32 and bf16 only"};
  if (rows * c == 0) return {"takes no empty tensors"};
  return {};
}

Refusal check_eval(const op::BatchNormFwdEval& a) { return refuse(a.rows, a.c, a.x.dtype); }
Refusal check_bwd(const op::BatchNormBwd& a) {
  if (const Refusal r = refuse(a.rows, a.c, a.x.dtype)) return r;
  if (a.rows > kLongestSum) return {kSumTooLong};
  if (!a.gx) return {"always makes the gradient of x, which is not wanted here"};
  return {};
}
Refusal admits_eval(const op::BatchNormFwdEval& a) { return fwd_program(a).refusal(); }
Refusal admits_bwd(const op::BatchNormBwd& a) { return bwd_program(a).refusal(); }

void run_eval(const op::BatchNormFwdEval& a, const ExecContext&) {
  fwd_program(a).run({a.x.data, a.gamma.data, a.beta.data, a.mean.data, a.var.data, a.y.data});
  for (int64_t i = 0; i < a.c; ++i) a.rstd.as<float>()[i] = float(1 / std::sqrt(double(a.var.as<float>()[i]) + a.eps));
}

void run_bwd(const op::BatchNormBwd& a, const ExecContext&) {
  thread_local std::vector<float> var;
  var.resize(size_t(a.c));
  for (size_t i = 0; i < var.size(); ++i) {
    const double r = a.rstd.as<float>()[i];
    var[i] = float(1 / (r * r));
  }
  bwd_program(a).run(
      {a.x.data, a.gy.data, a.gamma.data, a.mean.data, var.data(), a.gx.data, a.ggamma.data, a.gbeta.data});
}

}  // namespace

const Kernel<op::BatchNormFwdEval> batch_norm_fwd_eval{"onednn.auto", kOneDnn, check_eval,
                                                       run_eval,      nullptr, admits_eval};
const Kernel<op::BatchNormBwd> batch_norm_bwd{"onednn.auto", kOneDnn, check_bwd, run_bwd, nullptr, admits_bwd};

}  // namespace mininn::cpu::onednn
