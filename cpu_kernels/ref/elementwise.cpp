// y[i] = f(x[i], ...) over any strides, for every functor of ops/functors.h.
#include "ops/elementwise.h"

#include "cpu_kernels/common/map.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

template <class F>
void run(const op::UnaryFwd<F>& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    map<T>(
        a.y, [](auto x) { return F::f(x); }, a.x);
  });
}

template <class F>
void run(const op::UnaryBwd<F>& a, const ExecContext&) {
  with_floating(a.gx.dtype, [&]<class T>() {
    map<T>(
        a.gx, [](auto kept, auto gy) { return F::grad(kept, gy); }, a.kept, a.gy);
  });
}

template <class F>
void run(const op::BinaryFwd<F>& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    map<T>(
        a.y, [](auto u, auto v) { return F::f(u, v); }, a.a, a.b);
  });
}

template <class F>
void run(const op::BinaryBwdA<F>& a, const ExecContext&) {
  with_floating(a.g.dtype, [&]<class T>() {
    map<T>(
        a.g, [](auto u, auto v, auto gy) { return F::da(u, v, gy); }, a.a, a.b, a.gy);
  });
}

template <class F>
void run(const op::BinaryBwdB<F>& a, const ExecContext&) {
  with_floating(a.g.dtype, [&]<class T>() {
    map<T>(
        a.g, [](auto u, auto v, auto gy) { return F::db(u, v, gy); }, a.a, a.b, a.gy);
  });
}

template <class F>
void run(const op::Scalar<F>& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    const auto s = Compute<T>(a.s);
    map<T>(
        a.y, [s](auto x) { return F::f(x, s); }, a.x);
  });
}

template <class F>
void run(const op::ScalarBwd<F>& a, const ExecContext&) {
  with_floating(a.gx.dtype, [&]<class T>() {
    const auto s = Compute<T>(a.s);
    map<T>(
        a.gx, [s](auto x, auto gy) { return F::grad(x, s, gy); }, a.x, a.gy);
  });
}

struct Reference {
  template <class Args>
  constexpr Kernel<Args> operator()() const {
    return {"ref", kReferenceInRegions, takes_all, run};
  }
};

}  // namespace

constinit const ElementwiseKernels<> elementwise = elementwise_kernels(Reference());

}  // namespace mininn::cpu::ref
