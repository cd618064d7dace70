// Whole numbers.
#pragma once

#include <type_traits>

namespace mininn {

// a / b for b > 0, rounded up.
template <class T>
constexpr T ceil_div(T a, std::type_identity_t<T> b) {
  return a > 0 ? (a - 1) / b + 1 : a / b;  // a + b - 1 may overflow
}

// v, or the next multiple of `to` above it.
template <class T>
constexpr T round_up(T v, std::type_identity_t<T> to) {
  return ceil_div(v, to) * to;
}

}  // namespace mininn
