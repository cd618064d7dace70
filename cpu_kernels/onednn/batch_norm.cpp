// Batch normalisation by oneDNN, but for a batch's own statistics: it adds up the rows in long chains of f32, and loses
// the variance of channels whose mean is large. [rows, c] goes in as channels-last images of one pixel. oneDNN speaks
// of variances where ours are reciprocal standard deviations; c numbers are converted before or after.
#include <vector>

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
};

memory::desc image(const Key& k) { return dense({1, k.c, k.rows, 1}, DType(k.dtype), Tag::nhwc); }
memory::desc channels(const Key& k) { return dense({k.c}, DType::f32, Tag::a); }

normalization_flags flags(const Key& k) {
  const auto affine = normalization_flags::use_scale | normalization_flags::use_shift;
  return k.batch_statistics ? affine : affine | normalization_flags::use_global_stats;
}

// oneDNN adds eps to the variance it is given. Ours comes from rstd, so eps is in it already: 0 here and below.
Program make_fwd(const Key& k) {
  const dnnl::batch_normalization_forward::primitive_desc desc(engine(), dnnl::prop_kind::forward_inference, image(k),
                                                               image(k), 0.0f, flags(k), attributes());
  return {"batch_norm_apply",
          desc,
          dnnl::batch_normalization_forward(desc),
          {{DNNL_ARG_SRC, image(k)},
           {DNNL_ARG_SCALE, channels(k)},
           {DNNL_ARG_SHIFT, channels(k)},
           {DNNL_ARG_MEAN, channels(k)},
           {DNNL_ARG_VARIANCE, channels(k)},
           {DNNL_ARG_DST, image(k), true}}};
}

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

Program& fwd_program(const op::BatchNormApply& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.rows, a.c, int64_t(a.x.dtype), false, num_threads()};
  return cache.get(key,
                   [&] { return program_or_refusal("batch_norm_apply", key.threads, [&] { return make_fwd(key); }); });
}
Program& bwd_program(const op::BatchNormBwd& a) {
  thread_local PlanCache<Key, Program> cache;
  const Key key{a.rows, a.c, int64_t(a.x.dtype), a.training, num_threads()};
  return cache.get(key,
                   [&] { return program_or_refusal("batch_norm_bwd", key.threads, [&] { return make_bwd(key); }); });
}

Refusal refuse(int64_t rows, int64_t c, DType t) {
  if (t != DType::f32 && t != DType::bf16) return {"takes f32 and bf16 only"};
  if (rows * c == 0) return {"takes no empty tensors"};
  return {};
}

Refusal check_apply(const op::BatchNormApply& a) {
  if (a.residual || a.relu) return {"adds no residual and takes no ReLU"};
  return refuse(a.rows, a.c, a.x.dtype);
}
Refusal check_bwd(const op::BatchNormBwd& a) {
  if (const Refusal r = refuse(a.rows, a.c, a.x.dtype)) return r;
  if (a.rows > kLongestSum) return {kSumTooLong};
  if (a.y || a.gresidual) return {"takes no ReLU and no residual"};
  if (!a.gx) return {"always makes the gradient of x, which is not wanted here"};
  return {};
}
Refusal admits_apply(const op::BatchNormApply& a) { return fwd_program(a).refusal(); }
Refusal admits_bwd(const op::BatchNormBwd& a) { return bwd_program(a).refusal(); }

// For this thread, until the next call.
const float* variances(const CView& rstd) {
  thread_local std::vector<float> var;
  var.resize(size_t(rstd.size()));
  for (size_t i = 0; i < var.size(); ++i) {
    const double r = rstd.as<float>()[i];
    var[i] = float(1 / (r * r));
  }
  return var.data();
}

void run_apply(const op::BatchNormApply& a, const ExecContext&) {
  fwd_program(a).run({a.x.data, a.gamma.data, a.beta.data, a.mean.data, variances(a.rstd), a.y.data});
}

void run_bwd(const op::BatchNormBwd& a, const ExecContext&) {
  bwd_program(a).run(
      {a.x.data, a.gy.data, a.gamma.data, a.mean.data, variances(a.rstd), a.gx.data, a.ggamma.data, a.gbeta.data});
}

}  // namespace

const Kernel<op::BatchNormApply> batch_norm_apply{"onednn.auto", kOneDnn, check_apply,
                                                  run_apply,     nullptr, admits_apply};
const Kernel<op::BatchNormBwd> batch_norm_bwd{"onednn.auto", kOneDnn, check_bwd, run_bwd, nullptr, admits_bwd};

}  // namespace mininn::cpu::onednn
