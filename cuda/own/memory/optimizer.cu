// Parameter updates: each operation of ops/optimizer.h rounded on its own.
#include "ops/optimizer.h"

#include <cmath>

#include "cuda/launch.h"
#include "cuda/own/memory/kernels.h"

namespace mininn::cuda::own {
namespace {

template <class T>
struct Sgd {
  T lr, momentum, take, decay;
  bool first, nesterov;
};

template <class T>
__global__ void sgd_kernel(int64_t n, T* p, const T* g, T* b, Sgd<T> c) {
  for (int64_t i = thread_index(); i < n; i += thread_count()) {
    T d = g[i] + c.decay * p[i];
    if (b) {
      const T next = c.first ? d : c.momentum * b[i] + c.take * d;
      b[i] = next;
      d = c.nesterov ? d + c.momentum * next : next;
    }
    p[i] -= c.lr * d;
  }
}

template <class T>
void sgd(const op::SgdUpdate& a, const ExecContext& at) {
  const Sgd<T> c{T(a.lr), T(a.momentum), T(1 - a.dampening), T(a.weight_decay), a.first, a.nesterov};
  launch(sgd_kernel<T>, grid_of(a.n), at, a.n, a.param.as<T>(), a.grad.as<T>(), a.buffer.as<T>(), c);
}

template <class T>
struct Adam {
  T l2, keep, take1, beta2, take2, eps, step_size, v_scale;
};

template <class T>
__global__ void adam_kernel(int64_t n, T* p, const T* g, T* m, T* v, Adam<T> c) {
  for (int64_t i = thread_index(); i < n; i += thread_count()) {
    const T d = g[i] + c.l2 * p[i];
    const T mean = m[i] + c.take1 * (d - m[i]), square = c.beta2 * v[i] + c.take2 * (d * d);
    m[i] = mean;
    v[i] = square;
    p[i] = c.keep * p[i] - c.step_size * mean / (std::sqrt(square) / c.v_scale + c.eps);
  }
}

template <class T>
void adam(const op::AdamUpdate& a, const ExecContext& at) {
  const Adam<T> c{T(a.l2),        T(a.keep), T(1 - a.beta1), T(a.beta2),
                  T(1 - a.beta2), T(a.eps),  T(a.step_size), T(a.v_scale)};
  launch(adam_kernel<T>, grid_of(a.n), at, a.n, a.param.as<T>(), a.grad.as<T>(), a.m.as<T>(), a.v.as<T>(), c);
}

template <class Args>
Refusal any_size(const Args& a) {
  return a.dtype == DType::f32 || a.dtype == DType::f64 ? Refusal{} : Refusal{"f32 and f64 only"};
}

}  // namespace

constinit const Kernel<op::SgdUpdate> sgd_update{"own", kOwn, any_size,
                                                 [](const op::SgdUpdate& a, const ExecContext& at) {
                                                   a.dtype == DType::f32 ? sgd<float>(a, at) : sgd<double>(a, at);
                                                 }};
constinit const Kernel<op::AdamUpdate> adam_update{"own", kOwn, any_size,
                                                   [](const op::AdamUpdate& a, const ExecContext& at) {
                                                     a.dtype == DType::f32 ? adam<float>(a, at) : adam<double>(a, at);
                                                   }};

}  // namespace mininn::cuda::own
