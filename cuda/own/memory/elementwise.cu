// y[i] = f(x[i], ...) over any strides, for every functor of ops/functors.h.
#include "ops/elementwise.h"

#include "cuda/own/memory/kernels.h"
#include "cuda/own/memory/map.h"

namespace mininn::cuda::own {
namespace {

template <class F>
struct Apply {
  template <class... T>
  __device__ auto operator()(T... x) const {
    return F::f(x...);
  }
};
template <class F>
struct Grad {
  template <class T>
  __device__ T operator()(T kept, T gy) const {
    return F::grad(kept, gy);
  }
};
template <class F>
struct GradA {
  template <class T>
  __device__ T operator()(T a, T b, T gy) const {
    return F::da(a, b, gy);
  }
};
template <class F>
struct GradB {
  template <class T>
  __device__ T operator()(T a, T b, T gy) const {
    return F::db(a, b, gy);
  }
};
template <class F, class S>
struct ApplyScalar {
  S s;
  __device__ S operator()(S x) const { return F::f(x, s); }
};
template <class F, class S>
struct GradScalar {
  S s;
  __device__ S operator()(S x, S gy) const { return F::grad(x, s, gy); }
};

template <class F>
void run(const op::UnaryFwd<F>& a, const ExecContext& at) {
  with_floating(a.y.dtype, [&]<class T>() { map<T>(at, a.y, Apply<F>(), a.x); });
}
template <class F>
void run(const op::UnaryBwd<F>& a, const ExecContext& at) {
  with_floating(a.gx.dtype, [&]<class T>() { map<T>(at, a.gx, Grad<F>(), a.kept, a.gy); });
}
template <class F>
void run(const op::BinaryFwd<F>& a, const ExecContext& at) {
  with_floating(a.y.dtype, [&]<class T>() { map<T>(at, a.y, Apply<F>(), a.a, a.b); });
}
template <class F>
void run(const op::BinaryBwdA<F>& a, const ExecContext& at) {
  with_floating(a.g.dtype, [&]<class T>() { map<T>(at, a.g, GradA<F>(), a.a, a.b, a.gy); });
}
template <class F>
void run(const op::BinaryBwdB<F>& a, const ExecContext& at) {
  with_floating(a.g.dtype, [&]<class T>() { map<T>(at, a.g, GradB<F>(), a.a, a.b, a.gy); });
}
template <class F>
void run(const op::Scalar<F>& a, const ExecContext& at) {
  with_floating(a.y.dtype, [&]<class T>() {
    using S = Compute<T>;
    map<T>(at, a.y, ApplyScalar<F, S>{S(a.s)}, a.x);
  });
}
template <class F>
void run(const op::ScalarBwd<F>& a, const ExecContext& at) {
  with_floating(a.gx.dtype, [&]<class T>() {
    using S = Compute<T>;
    map<T>(at, a.gx, GradScalar<F, S>{S(a.s)}, a.x, a.gy);
  });
}

struct Map {
  template <class Args>
  constexpr Kernel<Args> operator()() const {
    return {"own.map", kOwn, takes_all, run};
  }
};

}  // namespace

constinit const ElementwiseKernels<> elementwise = elementwise_kernels(Map());

}  // namespace mininn::cuda::own
