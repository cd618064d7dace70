// Elements of any floating dtype, seen as doubles.
#pragma once

#include "core/convert.h"
#include "core/kernel.h"
#include "core/view.h"

namespace mininn::cpu {

inline double to_double(float v) { return double(v); }
inline double to_double(double v) { return v; }
inline double to_double(bf16 v) { return double(float(v)); }

template <class T>
T from_double(double v) {
  if constexpr (std::is_same_v<T, bf16>)
    return bf16(float(v));
  else
    return T(v);
}

// A contiguous vector of f32 or f64, such as the statistics of a batch norm.
inline double load(const CView& v, int64_t i) {
  return v.dtype == DType::f64 ? v.as<double>()[i] : double(v.as<float>()[i]);
}
inline void store(const View& v, int64_t i, double value) {
  if (v.dtype == DType::f64)
    v.as<double>()[i] = value;
  else
    v.as<float>()[i] = float(value);
}

// with_floating() of f32 and bf16 alone, which check_f32_or_bf16() has let pass.
template <class Fn>
void with_f32_or_bf16(DType t, const Fn& fn) {
  t == DType::bf16 ? fn.template operator()<bf16>() : fn.template operator()<float>();
}

inline Refusal check_f32_or_bf16(DType t) {
  return {t == DType::f32 || t == DType::bf16 ? nullptr : "the dtype is neither f32 nor bf16"};
}

inline Refusal check_floating(DType t) {
  return is_floating(t) ? Refusal{} : Refusal{"the dtype is not f32, f64 or bf16"};
}

}  // namespace mininn::cpu
