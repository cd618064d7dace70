// Whole numbers.
#pragma once

#include <type_traits>

namespace mininn::cpu {

// a / b for a >= 0 and b > 0, rounded up.
template <class T>
constexpr T ceil_div(T a, std::type_identity_t<T> b) {
  return (a + b - 1) / b;
}

// The next multiple of `to`.
template <class T>
constexpr T round_up(T v, std::type_identity_t<T> to) {
  return ceil_div(v, to) * to;
}

}  // namespace mininn::cpu
