#include "cpu_kernels/ref/optimizer.h"

#include <cmath>

namespace mininn::cpu::ref {
namespace {

template <class T>
void sgd(const op::SgdUpdate& a) {
  const T lr = T(a.lr), momentum = T(a.momentum), take = T(1 - a.dampening), decay = T(a.weight_decay);
  T* p = a.param.as<T>();
  T* b = a.buffer.as<T>();
  const T* g = a.grad.as<T>();
  for (int64_t i = 0; i < a.n; ++i) {
    T d = g[i] + decay * p[i];
    if (b) {
      b[i] = a.first ? d : momentum * b[i] + take * d;
      d = a.nesterov ? d + momentum * b[i] : b[i];
    }
    p[i] -= lr * d;
  }
}

template <class T>
void adam(const op::AdamUpdate& a) {
  const T keep = T(a.keep), l2 = T(a.l2), take1 = T(1 - a.beta1), beta2 = T(a.beta2), take2 = T(1 - a.beta2);
  const T eps = T(a.eps), step_size = T(a.step_size), v_scale = T(a.v_scale);
  T* p = a.param.as<T>();
  T* m = a.m.as<T>();
  T* v = a.v.as<T>();
  const T* g = a.grad.as<T>();
  for (int64_t i = 0; i < a.n; ++i) {
    const T d = g[i] + l2 * p[i];
    m[i] = m[i] + take1 * (d - m[i]);
    v[i] = beta2 * v[i] + take2 * (d * d);
    p[i] = keep * p[i] - step_size * m[i] / (std::sqrt(v[i]) / v_scale + eps);
  }
}

template <class Args>
Refusal any_size(const Args& a) {
  return a.dtype == DType::f32 || a.dtype == DType::f64 ? Refusal{} : Refusal{"f32 and f64 only"};
}

}  // namespace

const Kernel<op::SgdUpdate> sgd_update{
    "ref", kReference, any_size<op::SgdUpdate>,
    [](const op::SgdUpdate& a, const ExecContext&) { a.dtype == DType::f32 ? sgd<float>(a) : sgd<double>(a); }};
const Kernel<op::AdamUpdate> adam_update{
    "ref", kReference, any_size<op::AdamUpdate>,
    [](const op::AdamUpdate& a, const ExecContext&) { a.dtype == DType::f32 ? adam<float>(a) : adam<double>(a); }};

}  // namespace mininn::cpu::ref
