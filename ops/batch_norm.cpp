#include "ops/batch_norm.h"

#include <cmath>

#include "core/autograd.h"
#include "ops/elementwise.h"
#include "ops/operand.h"

namespace mininn {
namespace {

using detail::Operand, detail::optional_view;

MemoryFormat format_of(const Tensor& x) {
  return x.rank() == 4 ? MemoryFormat::channels_last : MemoryFormat::contiguous;
}

DType statistics_of(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void require_channels(const Shape& x) {
  if (x.rank() != 2 && x.rank() != 4) throw ShapeError(message("batch_norm: x must be [N,C,H,W] or [N,C], not ", x));
}

int64_t rows_of(const Tensor& x) { return x.rank() == 4 ? x.size(0) * x.size(2) * x.size(3) : x.size(0); }

// act((x - mean) * rstd * gamma + beta + residual) of operands that have been checked.
Tensor apply(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& gamma, const Tensor& beta,
             const Tensor& residual, bool relu) {
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device(), format_of(x));
  kernels<op::BatchNormApply>().run({rows_of(x), x.size(1), x.view(), mean.view(), rstd.view(), gamma.view(),
                                     beta.view(), optional_view(residual), relu, y.mutable_view()},
                                    x.device());
  return y;
}

struct BatchNormBackward {
  static constexpr const char* op = "batch_norm";
  Saved x, gamma, mean, rstd;
  Saved y;  // where a ReLU followed; there was an input for a residual then
  bool training;

  Grads backward(const Tensor& gy, const Wants& wants) const {
    const Tensor gy_dense = detail::dense(gy, format_of(gy)), result = y.get();
    const auto gradient = [&](int input) {
      return wants[input] ? Tensor::empty(gy.shape(), gy.dtype(), gy.device(), format_of(gy)) : Tensor();
    };
    const auto mutable_view = [](Tensor& t) { return t ? t.mutable_view() : View(); };
    Tensor gx = gradient(0), gresidual = y ? gradient(5) : Tensor();
    Tensor ggamma = Tensor::empty_like(gamma.get()), gbeta = Tensor::empty_like(ggamma);
    kernels<op::BatchNormBwd>().run(
        {rows_of(gy), gy.size(1), x.get().view(), gy_dense.view(), gamma.get().view(), mean.get().view(),
         rstd.get().view(), optional_view(result), training, mutable_view(gx), mutable_view(gresidual),
         ggamma.mutable_view(), gbeta.mutable_view()},
        gy.device());
    Grads grads{gx, ggamma, gbeta, {}, {}};
    if (y) grads.push_back(gresidual);
    return grads;
  }
};

// Of relu(batch_norm(x) + residual).
class BatchNormRecipe final : public Recipe {
 public:
  BatchNormRecipe(const Tensor& x, const Tensor& mean, const Tensor& rstd, const Tensor& gamma, const Tensor& beta,
                  const Tensor& residual)
      : x_(x), mean_(mean), rstd_(rstd), gamma_(gamma), beta_(beta), residual_(residual) {
    depends_on(x_);
    depends_on(residual_);
  }

 private:
  Tensor make() const override {
    return apply(x_.get(), mean_.get(), rstd_.get(), gamma_.get(), beta_.get(), residual_.get(), true);
  }

  Saved x_, mean_, rstd_, gamma_, beta_, residual_;
};

void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const Tensor& residual, const BatchNormOptions& o) {
  constexpr const char* op = BatchNormBackward::op;
  const Operand in = Operand(op, "x", x).floating();
  require_channels(x.shape());
  if (o.training && rows_of(x) < 2)
    throw ShapeError(message("batch_norm: training needs two values per channel or more, x is ", x.shape()));
  const DType statistics = statistics_of(x);
  const double eps = statistics == DType::f32 ? double(float(o.eps)) : o.eps;
  if (!(o.momentum >= 0 && o.momentum <= 1) || !(o.eps >= 0 && std::isfinite(eps)) || (o.eps > 0 && eps == 0))
    throw ValueError(message("batch_norm: momentum ", o.momentum, " must be in [0, 1], and eps ", o.eps,
                             " not negative and representable in ", name(statistics)));
  const std::pair<const char*, const Tensor*> vectors[] = {
      {"gamma", &gamma}, {"beta", &beta}, {"running_mean", &running_mean}, {"running_var", &running_var}};
  for (const auto& [what, t] : vectors) Operand(op, what, *t).is(statistics).beside(in).shape({x.size(1)}).contiguous();
  if (residual) Operand(op, "residual", residual).like(in).shape(x.shape());
  for (const Tensor* written : {&running_mean, &running_var})
    for (const Tensor* t : {&x, &gamma, &beta, &running_mean, &running_var, &residual})
      if (o.training && *t && t != written && may_overlap(t->view(), written->view()))
        throw ValueError("batch_norm: a running tensor is written and shares memory with another operand");
}

// Mean and 1 / sqrt(variance + eps): of the batch `x`, which moves the running ones, or these.
struct Statistics {
  Tensor mean, rstd;

  Statistics(const Tensor& x, Tensor& running_mean, Tensor& running_var, const BatchNormOptions& o)
      : mean(o.training ? Tensor::empty_like(running_mean) : running_mean), rstd(Tensor::empty_like(running_var)) {
    if (o.training)
      kernels<op::BatchNormMoments>().run(
          {rows_of(x), x.size(1), x.view(), o.momentum, o.eps, mean.mutable_view(), rstd.mutable_view(),
           running_mean.mutable_view(), running_var.mutable_view()},
          x.device());
    else
      kernels<op::BatchNormRstd>().run({running_var.view(), o.eps, rstd.mutable_view()}, x.device());
  }
};

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean, Tensor& running_var,
                  const BatchNormOptions& o) {
  check(x, gamma, beta, running_mean, running_var, {}, o);
  const Tensor x_dense = detail::dense(x, format_of(x));
  const Statistics s(x_dense, running_mean, running_var, o);
  return attach<BatchNormBackward>(apply(x_dense, s.mean, s.rstd, gamma, beta, {}, false),
                                   {x, gamma, beta, running_mean, running_var}, o, x_dense, gamma, s.mean, s.rstd,
                                   Saved(), o.training);
}

Tensor batch_norm_relu(const Tensor& x, const Tensor& gamma, const Tensor& beta, Tensor& running_mean,
                       Tensor& running_var, const Tensor& residual, const BatchNormOptions& o) {
  check(x, gamma, beta, running_mean, running_var, residual, o);
  if (!o.training) {
    const Tensor y = batch_norm(x, gamma, beta, running_mean, running_var, o);
    return relu(residual ? y + residual : y);
  }
  const Tensor x_dense = detail::dense(x, format_of(x));
  const Tensor residual_dense = residual ? detail::dense(residual, format_of(x)) : Tensor();
  const Statistics s(x_dense, running_mean, running_var, o);
  Tensor y = apply(x_dense, s.mean, s.rstd, gamma, beta, residual_dense, true);
  const std::initializer_list<Tensor> inputs{x, gamma, beta, running_mean, running_var, residual};
  std::shared_ptr<Recipe> recipe;
  if (grad_enabled() && detail::any_requires_grad(inputs)) {
    recipe = make_recycled<BatchNormRecipe>(x_dense, s.mean, s.rstd, gamma, beta, residual_dense);
    set_recipe(y, recipe);
  }
  return attach<BatchNormBackward>(y, inputs, o, x_dense, gamma, s.mean, s.rstd, y, o.training);
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
