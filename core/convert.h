// How an element changes its type: the one definition, for Tensor and for kernels.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/dtype.h"

namespace mininn {

// Integers saturate; on the way to one, a fraction is dropped and NaN becomes 0. f64 goes to bf16 by way of f32.
template <class To, class From>
constexpr To convert(From v) {
  using Limits = std::numeric_limits<To>;
  if constexpr (std::is_same_v<From, To>) {
    return v;
  } else if constexpr (std::is_same_v<From, bf16>) {
    return convert<To>(float(v));
  } else if constexpr (std::is_same_v<To, bf16>) {
    return bf16(float(v));
  } else if constexpr (std::is_floating_point_v<To>) {
    return To(v);
  } else if constexpr (std::is_floating_point_v<From>) {
    // The bounds as From: -2^k is exact, and 2^k is the first number that is too large.
    constexpr From low = From(Limits::min()), high = From(Limits::max() / 2 + 1) * 2;
    if (v != v) return To(0);
    return v < low ? Limits::min() : v >= high ? Limits::max() : To(v);
  } else {
    return std::cmp_less(v, Limits::min()) ? Limits::min() : std::cmp_greater(v, Limits::max()) ? Limits::max() : To(v);
  }
}

// Calls fn(T()) with the C++ type of `t`.
template <class Fn>
void with_type(DType t, const Fn& fn) {
  switch (t) {
    case DType::f32: return fn(float());
    case DType::f64: return fn(double());
    case DType::bf16: return fn(bf16());
    case DType::i8: return fn(int8_t());
    case DType::u8: return fn(uint8_t());
    case DType::i32: return fn(int32_t());
    case DType::i64: return fn(int64_t());
  }
}

// Calls fn.template operator()<T>() with the C++ type of a floating dtype.
template <class Fn>
void with_floating(DType t, const Fn& fn) {
  switch (t) {
    case DType::f32: return fn.template operator()<float>();
    case DType::f64: return fn.template operator()<double>();
    case DType::bf16: return fn.template operator()<bf16>();
    default: break;
  }
}

// bf16 is computed in float.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

// Whether `v` is a finite number that stays one in `t`: f32 and bf16 end at 3.4e38, integers saturate.
inline bool stays_finite(double v, DType t) {
  bool finite = std::isfinite(v);
  with_type(t, [&]<class T>(T) { finite = finite && std::isfinite(convert<double>(convert<T>(v))); });
  return finite;
}

// Whether `v` is between the ends of `t`, but for a fraction that an integer drops.
inline bool is_within(double v, DType t) {
  bool within = stays_finite(v, t);
  with_type(t, [&]<class T>(T) {
    using Limits = std::numeric_limits<T>;
    if constexpr (std::is_integral_v<T>)  // the second bound is 2^k, the first number that is too large
      within = std::trunc(v) >= double(Limits::min()) && std::trunc(v) < double(Limits::max() / 2 + 1) * 2;
  });
  return within;
}

}  // namespace mininn
