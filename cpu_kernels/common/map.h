// Elementwise loops over operands of any strides.
#pragma once

#include <array>
#include <utility>

#include "core/convert.h"
#include "core/strided_loop.h"
#include "core/view.h"

namespace mininn::cpu {
namespace detail {

template <class T, class Fn, size_t... I, class... In>
void map(const View& y, const Fn& fn, std::index_sequence<I...>, const In&... in) {
  const StridedLoop<1 + sizeof...(In)> loop(y.shape, {y.strides, in.strides...});
  const std::array<int64_t, 1 + sizeof...(In)> step = loop.inner().stride;
  const bool unit = loop.unit_stride();
  loop.run([&](const auto& at, int64_t n) {
    T* const out = y.as<T>() + at[0];
    [[maybe_unused]] const std::array<const T*, sizeof...(In)> from{in.template as<T>() + at[I + 1]...};
    if (unit)
      for (int64_t i = 0; i < n; ++i) out[i] = T(fn(Compute<T>(from[I][i])...));
    else
      for (int64_t i = 0; i < n; ++i) out[i * step[0]] = T(fn(Compute<T>(from[I][i * step[I + 1]])...));
  });
}

}  // namespace detail

// y = fn(in...) element by element; all views have elements of type T.
template <class T, class Fn, class... In>
void map(const View& y, const Fn& fn, const In&... in) {
  detail::map<T>(y, fn, std::make_index_sequence<sizeof...(In)>(), in...);
}

}  // namespace mininn::cpu
