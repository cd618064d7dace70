#include "ops/batch_norm.h"

#include <cmath>

#include "core/autograd.h"
#include "ops/operand.h"

namespace mininn {
namespace {

using detail::Operand;

MemoryFormat format_of(const Tensor& x) {
  return x.rank() == 4 ? MemoryFormat::channels_last : MemoryFormat::contiguous;
}

void require_channels(const Shape& x) {
  if (x.rank() != 2 && x.rank() != 4) throw ShapeError(message("batch_norm: x must be [N,C,H,W] or [N,C], not ", x));
}

struct BatchNormBackward {
  static constexpr const char* op = "batch_norm";
  int64_t rows, c;
  Saved x, gamma, mean, rstd;
  bool training;

  Grads backward(const Tensor& gy, const Wants& wants) const {
    const Device device = gy.device();
    const Tensor gy_dense = detail::dense(gy, format_of(gy));
    Tensor gx = wants[0] ? Tensor::empty(gy.shape(), gy.dtype(), device, format_of(gy)) : Tensor();
    Tensor ggamma = Tensor::empty({c}, gamma.get().dtype(), device), gbeta = Tensor::empty_like(ggamma);
    kernels<op::BatchNormBwd>().run(
        {rows, c, x.get().view(), gy_dense.view(), gamma.get().view(), mean.get().view(), rstd.get().view(), training,
         gx ? gx.mutable_view() : View(), ggamma.mutable_view(), gbeta.mutable_view()},
        device);
    return {gx, ggamma, gbeta, {}, {}};
  }
};

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean, Tensor& running_var,
                  const BatchNormOptions& o) {
  constexpr const char* op = BatchNormBackward::op;
  const Operand in = Operand(op, "x", x).floating();
  require_channels(x.shape());
  const int64_t c = x.size(1);
  const int64_t rows = x.rank() == 4 ? x.size(0) * x.size(2) * x.size(3) : x.size(0);
  if (o.training && rows < 2)
    throw ShapeError(message("batch_norm: training needs two values per channel or more, x is ", x.shape()));
  const DType statistics = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const double eps = statistics == DType::f32 ? double(float(o.eps)) : o.eps;
  if (!(o.momentum >= 0 && o.momentum <= 1) || !(o.eps >= 0 && std::isfinite(eps)) || (o.eps > 0 && eps == 0))
    throw ValueError(message("batch_norm: momentum ", o.momentum, " must be in [0, 1], and eps ", o.eps,
                             " not negative and representable in ", name(statistics)));
  const std::pair<const char*, const Tensor*> vectors[] = {
      {"gamma", &gamma}, {"beta", &beta}, {"running_mean", &running_mean}, {"running_var", &running_var}};
  for (const auto& [what, t] : vectors) Operand(op, what, *t).is(statistics).beside(in).shape({c}).contiguous();
  for (const Tensor* written : {&running_mean, &running_var})
    for (const Tensor* t : std::initializer_list<const Tensor*>{&x, &gamma, &beta, &running_mean, &running_var})
      if (o.training && t != written && may_overlap(t->view(), written->view()))
        throw ValueError("batch_norm: a running tensor is written and shares memory with another operand");

  const Tensor x_dense = in.dense(format_of(x));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device(), format_of(x));
  Tensor mean = o.training ? Tensor::empty({c}, statistics, x.device()) : running_mean;
  Tensor rstd = Tensor::empty({c}, statistics, x.device());
  if (o.training)
    kernels<op::BatchNormFwdTrain>().run(
        {rows, c, x_dense.view(), gamma.view(), beta.view(), o.momentum, o.eps, y.mutable_view(), mean.mutable_view(),
         rstd.mutable_view(), running_mean.mutable_view(), running_var.mutable_view()},
        x.device());
  else
    kernels<op::BatchNormFwdEval>().run({rows, c, x_dense.view(), gamma.view(), beta.view(), running_mean.view(),
                                         running_var.view(), o.eps, y.mutable_view(), rstd.mutable_view()},
                                        x.device());
  return attach<BatchNormBackward>(std::move(y), {x, gamma, beta, running_mean, running_var}, o, rows, c, x_dense,
                                   gamma, mean, rstd, o.training);
}

constinit const OpDef opdef::batch_norm = define_op<BatchNormOptions,
                                                    [](auto in, BatchNormOptions o) {
                                                      Tensor mean = in[3], var = in[4];
                                                      o.training = false;
                                                      return mininn::batch_norm(in[0], in[1], in[2], mean, var, o);
                                                    },
                                                    [](auto in, const auto&) {
                                                      require_channels(in[0].shape);
                                                      return in[0];
                                                    }>(BatchNormBackward::op, {5, 5, 0b110});

}  // namespace mininn
