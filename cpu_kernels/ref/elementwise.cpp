// y[i] = f(x[i], ...) over any strides, for every functor of ops/elementwise.h.
#include "ops/elementwise.h"

#include "cpu_kernels/ref/kernels.h"
#include "cpu_kernels/ref/strided.h"

namespace mininn::cpu::ref {
namespace {

template <class Args>
Refusal accept(const Args&) {
  return {};
}

template <class Op>
void run_unary(const UnaryArgs& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    map<T>(
        a.y, [](auto x) { return Op::f(x); }, a.x);
  });
}

template <class Op>
void run_unary_grad(const UnaryGradArgs& a, const ExecContext&) {
  with_floating(a.gx.dtype, [&]<class T>() {
    map<T>(
        a.gx, [](auto kept, auto gy) { return Op::grad(kept, gy); }, a.kept, a.gy);
  });
}

template <class Op>
void run_binary(const BinaryArgs& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    map<T>(
        a.y, [](auto u, auto v) { return Op::f(u, v); }, a.a, a.b);
  });
}

template <class Op, int Input>
void run_binary_grad(const BinaryGradArgs& a, const ExecContext&) {
  with_floating(a.g.dtype, [&]<class T>() {
    map<T>(
        a.g, [](auto u, auto v, auto gy) { return Input ? Op::db(u, v, gy) : Op::da(u, v, gy); }, a.a, a.b, a.gy);
  });
}

template <class Op>
void run_scalar(const ScalarArgs& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() {
    const auto s = Compute<T>(a.s);
    map<T>(
        a.y, [s](auto x) { return Op::f(x, s); }, a.x);
  });
}

template <class... Ops>
constexpr PerOp<UnaryOps, UnaryArgs> unary_list(TypeList<Ops...>) {
  return {{Kernel<UnaryArgs>{"ref", accept, run_unary<Ops>}...}};
}
template <class... Ops>
constexpr PerOp<UnaryOps, UnaryGradArgs> unary_grad_list(TypeList<Ops...>) {
  return {{Kernel<UnaryGradArgs>{"ref", accept, run_unary_grad<Ops>}...}};
}
template <class... Ops>
constexpr PerOp<BinaryOps, BinaryArgs> binary_list(TypeList<Ops...>) {
  return {{Kernel<BinaryArgs>{"ref", accept, run_binary<Ops>}...}};
}
template <int Input, class... Ops>
constexpr PerOp<BinaryOps, BinaryGradArgs> binary_grad_list(TypeList<Ops...>) {
  return {{Kernel<BinaryGradArgs>{"ref", accept, run_binary_grad<Ops, Input>}...}};
}
template <class... Ops>
constexpr PerOp<ScalarOps, ScalarArgs> scalar_list(TypeList<Ops...>) {
  return {{Kernel<ScalarArgs>{"ref", accept, run_scalar<Ops>}...}};
}

}  // namespace

constinit const PerOp<UnaryOps, UnaryArgs> unary = unary_list(UnaryOps());
constinit const PerOp<UnaryOps, UnaryGradArgs> unary_grad = unary_grad_list(UnaryOps());
constinit const PerOp<BinaryOps, BinaryArgs> binary = binary_list(BinaryOps());
constinit const PerOp<BinaryOps, BinaryGradArgs> binary_grad_a = binary_grad_list<0>(BinaryOps());
constinit const PerOp<BinaryOps, BinaryGradArgs> binary_grad_b = binary_grad_list<1>(BinaryOps());
constinit const PerOp<ScalarOps, ScalarArgs> scalar = scalar_list(ScalarOps());

}  // namespace mininn::cpu::ref
