// What a backend has for the elementwise ops: one kernel for each functor of the lists in ops/functors.h.
#pragma once

#include <tuple>
#include <vector>

#include "ops/elementwise.h"

namespace mininn {

// One kernel per functor of a list.
template <class List, template <class> class Args>
struct PerFunctor;
template <class... Fs, template <class> class Args>
struct PerFunctor<op::Functors<Fs...>, Args> {
  std::tuple<Kernel<Args<Fs>>...> kernels;
  template <class F>
  static constexpr bool has = op::Functors<Fs...>::template contains<F>;
  template <class F>
  const Kernel<Args<F>>& of() const {
    return std::get<Kernel<Args<F>>>(kernels);
  }
};

// `Unary`: the unary functors that there are kernels for.
template <class Unary = op::UnaryOps>
struct ElementwiseKernels {
  PerFunctor<Unary, op::UnaryFwd> unary_fwd;
  PerFunctor<Unary, op::UnaryBwd> unary_bwd;
  PerFunctor<op::BinaryOps, op::BinaryFwd> binary_fwd;
  PerFunctor<op::BinaryOps, op::BinaryBwdA> binary_bwd_a;
  PerFunctor<op::BinaryOps, op::BinaryBwdB> binary_bwd_b;
  PerFunctor<op::ScalarOps, op::Scalar> scalar;
  PerFunctor<op::CurvedScalarOps, op::ScalarBwd> scalar_bwd;
};

namespace detail {
template <template <class> class Args, class Make, class... Fs>
constexpr PerFunctor<op::Functors<Fs...>, Args> per_functor(op::Functors<Fs...>, const Make& make) {
  return {{make.template operator()<Args<Fs>>()...}};
}

// The table of F's op: of each of `lists` the kernel for F, if it has one.
template <template <class> class Args, class F, class... Lists>
void set_functor(DeviceType d, const Lists&... lists) {
  std::vector<Kernel<Args<F>>> candidates;
  const auto add = [&]<class List>(const List& list) {
    if constexpr (List::template has<F>) candidates.push_back(list.template of<F>());
  };
  (add(lists), ...);
  kernels<Args<F>>().set(d, std::move(candidates));
}
}  // namespace detail

// Each kernel is what make.operator()<Args>() gives.
template <class Unary = op::UnaryOps, class Make>
constexpr ElementwiseKernels<Unary> elementwise_kernels(const Make& make) {
  using detail::per_functor;
  return {per_functor<op::UnaryFwd>(Unary(), make),
          per_functor<op::UnaryBwd>(Unary(), make),
          per_functor<op::BinaryFwd>(op::BinaryOps(), make),
          per_functor<op::BinaryBwdA>(op::BinaryOps(), make),
          per_functor<op::BinaryBwdB>(op::BinaryOps(), make),
          per_functor<op::Scalar>(op::ScalarOps(), make),
          per_functor<op::ScalarBwd>(op::CurvedScalarOps(), make)};
}

// The tables of all elementwise ops; the kernels of the first set are asked first.
template <class... Sets>
void set_elementwise_kernels(DeviceType d, const Sets&... sets) {
  using detail::set_functor;
  op::for_each_functor(op::UnaryOps(), [&]<class F>() {
    set_functor<op::UnaryFwd, F>(d, sets.unary_fwd...);
    set_functor<op::UnaryBwd, F>(d, sets.unary_bwd...);
  });
  op::for_each_functor(op::BinaryOps(), [&]<class F>() {
    set_functor<op::BinaryFwd, F>(d, sets.binary_fwd...);
    if constexpr (F::da_reads != op::kReadsNothing) set_functor<op::BinaryBwdA, F>(d, sets.binary_bwd_a...);
    if constexpr (F::db_reads != op::kReadsNothing) set_functor<op::BinaryBwdB, F>(d, sets.binary_bwd_b...);
  });
  op::for_each_functor(op::ScalarOps(), [&]<class F>() {
    set_functor<op::Scalar, F>(d, sets.scalar...);
    if constexpr (op::CurvedScalarOps::contains<F>) set_functor<op::ScalarBwd, F>(d, sets.scalar_bwd...);
  });
}

}  // namespace mininn
