// Elementwise loops over operands of any strides.
#pragma once

#include <utility>

#include "core/convert.h"
#include "core/strided_loop.h"
#include "core/view.h"
#include "cuda/launch.h"

namespace mininn::cuda::own {

template <class Fn, class To, size_t... I, class... From>
__device__ inline void map_at(int64_t i, const Fn& fn, const StridedLoop<1 + int(sizeof...(From))>& loop, To* y,
                              std::index_sequence<I...>, const From*... x) {
  const auto at = loop.offsets(i);
  y[at[0]] = fn(x[at[I + 1]]...);
}

template <class Fn, class To, class... From>
__global__ void map_kernel(Fn fn, const __grid_constant__ StridedLoop<1 + int(sizeof...(From))> loop, To* y,
                           const From*... x) {
  for (int64_t i = thread_index(); i < loop.size(); i += thread_count())
    map_at(i, fn, loop, y, std::make_index_sequence<sizeof...(From)>(), x...);
}

// An operand whose elements are of type T.
template <class T>
struct Typed {
  const CView& view;
};

// y = fn(in...) element by element, for elements of any types. Fn is an object whose operator() kernels can call,
// without pointers to the host's memory; it returns a To.
template <class To, class Fn, class... From>
void map_elements(const ExecContext& at, const View& y, const Fn& fn, const Typed<From>&... in) {
  const StridedLoop<1 + int(sizeof...(From))> loop(y.shape, {y.strides, in.view.strides...});
  launch(map_kernel<Fn, To, From...>, grid_of(loop.size()), at, fn, loop, y.as<To>(), in.view.template as<From>()...);
}

template <class T, class Fn>
struct Computed {
  Fn fn;
  template <class... In>
  __device__ T operator()(In... x) const {
    return T(fn(Compute<T>(x)...));
  }
};

// The same for a floating T throughout; fn computes bf16 in float.
template <class T, class Fn, class... In>
void map(const ExecContext& at, const View& y, const Fn& fn, const In&... in) {
  map_elements<T>(at, y, Computed<T, Fn>{fn}, Typed<T>{in}...);
}

}  // namespace mininn::cuda::own
