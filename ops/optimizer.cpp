#include "ops/optimizer.h"

#include <initializer_list>
#include <string>

#include "core/convert.h"
#include "ops/operand.h"

namespace mininn {
namespace {

using detail::Operand;

// Checks the operands of an update and gives the gradient in the parameter's memory order.
Tensor matching_grad(const char* op, const Tensor& param, const Tensor& grad, std::initializer_list<Tensor> state) {
  const Operand updated = Operand(op, "the parameter", param).is(DType::f32, DType::f64);
  if (!param.is_contiguous() && !param.is_channels_last())
    throw ShapeError(message(op, ": the parameter ", param.shape(), " has gaps, its strides are ", param.strides()));
  Operand(op, "the gradient", grad).like(updated).shape(param.shape());
  bool grad_apart = !may_overlap(param.view(), grad.view());
  for (const Tensor& s : state) {
    Operand(op, "the state", s).like(updated).shape(param.shape());
    if (s.strides() != param.strides())
      throw ShapeError(message(op, ": the state's strides ", s.strides(), " differ from the parameter's ",
                               param.strides(), " for the shape ", param.shape()));
    bool apart = !may_overlap(param.view(), s.view());
    for (const Tensor* other = state.begin(); other != &s; ++other) apart &= !may_overlap(other->view(), s.view());
    if (!apart) throw ValueError(message(op, ": the parameter and its state must not share memory"));
    grad_apart &= !may_overlap(s.view(), grad.view());
  }
  return detail::dense(grad_apart ? grad : grad.clone(), detail::format_of(param));
}

template <class... Coefficients>
void require_finite(const char* op, DType t, Coefficients... c) {
  if (!(stays_finite(c, t) && ...))
    throw ValueError(message(op, ": a coefficient is not finite in ", name(t), ':', (message(' ', c) + ...)));
}

}  // namespace

void sgd_update(Tensor& param, const Tensor& grad, Tensor& buffer, op::SgdUpdate a) {
  const Tensor g =
      buffer ? matching_grad("sgd_update", param, grad, {buffer}) : matching_grad("sgd_update", param, grad, {});
  require_finite("sgd_update", param.dtype(), a.lr, a.momentum, a.dampening, a.weight_decay);
  a.n = param.numel();
  if (a.n == 0) return;
  a.dtype = param.dtype();
  a.param = param.mutable_view();
  a.grad = g.view();
  a.buffer = buffer ? buffer.mutable_view() : View();
  kernels<op::SgdUpdate>().run(a, param.device());
}

void adam_update(Tensor& param, const Tensor& grad, Tensor& m, Tensor& v, op::AdamUpdate a) {
  const Tensor g = matching_grad("adam_update", param, grad, {m, v});
  require_finite("adam_update", param.dtype(), a.l2, a.keep, a.beta1, a.beta2, a.eps, a.step_size, a.v_scale);
  a.n = param.numel();
  if (a.n == 0) return;
  a.dtype = param.dtype();
  a.param = param.mutable_view();
  a.grad = g.view();
  a.m = m.mutable_view();
  a.v = v.mutable_view();
  kernels<op::AdamUpdate>().run(a, param.device());
}

}  // namespace mininn
