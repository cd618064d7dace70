// The elementwise functors and the lists of them. Kernels of every device, gradients, public functions
// (ops/elementwise.h), graphs and tests go through the lists: a new op is written here, and once more in its test.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

// Functors are inlined into kernels of every instruction set, and never emitted on their own.
#ifdef __CUDACC__
#define MININN_FN static __host__ __device__ __forceinline__
#else
#define MININN_FN [[gnu::always_inline]] static inline
#endif

namespace mininn::op {

// --- exponentials and logarithms, in f32 without a call: compilers turn loops of them into vector instructions -----

// 1.5 * 2^23: what is added to it is rounded to a whole number.
inline constexpr float kRound = 12582912;
// ln 2 in two parts: a whole number of at most 8 bits times the first is exact.
inline constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440054690583e-4f;

// e^x = 2^k (1 + q), with k whole and |x - k ln 2| <= ln(2)/2 (Cody and Waite 1980).
struct ExpParts {
  float q;
  uint32_t k;  // two's complement
};

// For -104 <= x <= 89, or NaN.
MININN_FN ExpParts exp_parts(float x) {
  const float shifted = x * 1.44269504088896341f + kRound, k = shifted - kRound;
  const float r = (x - k * kLn2High) - k * kLn2Low;
  // Taylor's series to r^7 / 7!: what is left out is below 6e-9.
  float q = r * (1 / 5040.0f) + 1 / 720.0f;
  q = q * r + 1 / 120.0f;
  q = q * r + 1 / 24.0f;
  q = q * r + 1 / 6.0f;
  q = q * r + 0.5f;
  return {q * r * r + r, std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRound)};
}
// 2^k, for -126 <= k <= 127.
MININN_FN float power_of_two(uint32_t k) { return std::bit_cast<float>((k + 127) << 23); }

// Within 1.5 units in the last place of e^x in f32; infinity and 0 where f32 ends.
template <class T>
MININN_FN T exponential(T x) {
  if constexpr (std::is_same_v<T, float>) {
    const ExpParts e = exp_parts(x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x);
    const uint32_t half = uint32_t(int32_t(e.k) >> 1);  // in two steps: 2^k alone may be no float
    return (1 + e.q) * power_of_two(half) * power_of_two(e.k - half);
  } else {
    return std::exp(x);
  }
}

// Within 3 units in the last place of tanh(x) in f32.
template <class T>
MININN_FN T hyperbolic_tangent(T x) {
  if constexpr (std::is_same_v<T, float>) {
    const float size = std::abs(x);
    const ExpParts e = exp_parts(2 * (size > 20 ? 20 : size));
    const float two_k = power_of_two(e.k), less_one = two_k * e.q + (two_k - 1);  // e^2|x| - 1, without cancellation
    return std::copysign(less_one / (less_one + 2), x);
  } else {
    return std::tanh(x);
  }
}

// Within 2 units in the last place of ln(x) in f32; -infinity at 0, NaN below.
template <class T>
MININN_FN T logarithm(T x) {
  if constexpr (std::is_same_v<T, float>) {
    // x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2): k is what the exponent of x / sqrt(1/2) says.
    constexpr float kSmallest = 0x1p-126f;
    constexpr uint32_t kSqrtHalf = std::bit_cast<uint32_t>(0.70710678f);
    const bool subnormal = x < kSmallest;
    const uint32_t bits = std::bit_cast<uint32_t>(subnormal ? x * 0x1p23f : x), from_half = bits - kSqrtHalf;
    const float k = float(int32_t(from_half) >> 23) - (subnormal ? 23.0f : 0.0f);
    const float f = std::bit_cast<float>((from_half & 0x7fffff) + kSqrtHalf) - 1;
    // ln(1 + f) = 2 atanh(s), s = f / (2 + f), as f - s (f - 2/3 s^2 - 2/5 s^4 - ..): what is left out is below 4e-9 f.
    const float s = f / (2 + f), z = s * s;
    float rest = z * (2 / 9.0f) + 2 / 7.0f;
    rest = rest * z + 2 / 5.0f;
    rest = (rest * z + 2 / 3.0f) * z;
    const float y = (f - (s * (f - rest) - k * kLn2Low)) + k * kLn2High;
    const float inf = std::numeric_limits<float>::infinity();
    return x > 0 ? (x < inf ? y : x) : x == 0 ? -inf : std::numeric_limits<float>::quiet_NaN();
  } else {
    return std::log(x);
  }
}

// e^(-x^2 / 2), within 3 units in the last place in f32: the square's own rounding would be felt, so x is split into
// two parts, of which the square of the first is exact (Cody 1969).
template <class T>
MININN_FN T gaussian(T x) {
  if constexpr (std::is_same_v<T, float>) {
    const float size = std::abs(x) > 15 ? 15 : std::abs(x), high = ((size * 16 + kRound) - kRound) * 0.0625f;
    return exponential(-0.5f * high * high) * exponential(-0.5f * (size - high) * (size + high));
  } else {
    return std::exp(T(-0.5) * x * x);
  }
}

// Phi(x), the normal distribution function. In f32 within 8 units in the last place, of its small values too.
template <class T>
MININN_FN T normal_cdf(T x) {
  if constexpr (std::is_same_v<T, float>) {
    // Phi(-|x|) = e^(-x^2 / 2) t P(t), t = 1 / (1 + |x| / 4). P is fitted by least squares, weighted until the greatest
    // relative error for |x| <= 14.6, beyond which Phi is no float, was least: 9e-9, with these digits 4e-8.
    const float t = 1 / (1 + 0.25f * std::abs(x));
    float p = 0.016951382f * t - 0.064865388f;
    p = p * t + 0.05667226f;
    p = p * t + 0.021522032f;
    p = p * t + 0.018670142f;
    p = p * t + 0.083330944f;
    p = p * t + 0.073199809f;
    p = p * t + 0.095246039f;
    p = p * t + 0.099526726f;
    p = p * t + 0.099746041f;
    const float tail = gaussian(x) * (t * p);
    return x > 0 ? 1 - tail : tail;
  } else {
    return T(0.5) * std::erfc(x * T(-0.70710678118654752440));  // 1 + erf(x / sqrt 2) would cancel for negative x
  }
}

// --- functors: y = f(x), and grad(v, gy) = gy * dy/dx, where v is what the op keeps for backward --------------------

enum class Keeps { nothing, input, result };  // nothing: v is not read

struct Neg {
  static constexpr const char* op = "neg";
  static constexpr Keeps keeps = Keeps::nothing;
  template <class T>
  MININN_FN T f(T x) {
    return -x;
  }
  template <class T>
  MININN_FN T grad(T, T gy) {
    return -gy;
  }
};

struct Exp {
  static constexpr const char* op = "exp";
  static constexpr Keeps keeps = Keeps::result;
  template <class T>
  MININN_FN T f(T x) {
    return exponential(x);
  }
  template <class T>
  MININN_FN T grad(T y, T gy) {
    return gy * y;
  }
};

struct Log {
  static constexpr const char* op = "log";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    return logarithm(x);
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    return gy / x;
  }
};

struct Sqrt {
  static constexpr const char* op = "sqrt";
  static constexpr Keeps keeps = Keeps::result;
  template <class T>
  MININN_FN T f(T x) {
    return std::sqrt(x);
  }
  template <class T>
  MININN_FN T grad(T y, T gy) {
    return T(0.5) * gy / y;
  }
};

struct Square {
  static constexpr const char* op = "square";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    return x * x;
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    return T(2) * (gy * x);
  }
};

struct Abs {  // gradient 0 at 0, NaN at NaN
  static constexpr const char* op = "abs";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    return std::abs(x);
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    return x > T(0) ? gy : x < T(0) ? -gy : x;
  }
};

struct Relu {  // NaN stays NaN and lets the gradient through; gradient 0 at 0
  static constexpr const char* op = "relu";
  static constexpr Keeps keeps = Keeps::result;
  template <class T>
  MININN_FN T f(T x) {
    return x <= T(0) ? T(0) : x;
  }
  template <class T>
  MININN_FN T grad(T y, T gy) {
    return y <= T(0) ? T(0) : gy;
  }
};

struct Relu6 {  // min(max(x, 0), 6); NaN as for relu; gradient 0 at both ends
  static constexpr const char* op = "relu6";
  static constexpr Keeps keeps = Keeps::result;
  template <class T>
  MININN_FN T f(T x) {
    const T low = x <= T(0) ? T(0) : x;
    return low > T(6) ? T(6) : low;
  }
  template <class T>
  MININN_FN T grad(T y, T gy) {
    return (y <= T(0)) | (y >= T(6)) ? T(0) : gy;
  }
};

struct Sigmoid {  // 1 / (1 + exp(-x)), with the exponential of a negative number only: it cannot overflow
  static constexpr const char* op = "sigmoid";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    const T e = exponential(-std::abs(x));
    return (x < T(0) ? e : T(1)) / (T(1) + e);
  }
  // sigmoid(x) sigmoid(-x): 1 - y cancels where y is near 1.
  template <class T>
  MININN_FN T grad(T x, T gy) {
    return gy * f(x) * f(-x);
  }
};

struct Tanh {
  static constexpr const char* op = "tanh";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    return hyperbolic_tangent(x);
  }
  // 1 / cosh(x)^2, whose cosh cannot overflow this way: 1 - y^2 cancels where y is near 1.
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T e = exponential(-std::abs(x)), sech = T(2) * e / (T(1) + e * e);
    return gy * sech * sech;
  }
};

struct Gelu {  // x Phi(x) with the exact normal distribution function (Hendrycks & Gimpel 2016)
  static constexpr const char* op = "gelu";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    const T p = normal_cdf(x), y = x * p;
    return p == T(0) ? T(0) : y;  // at -inf too
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T density = gaussian(x) * T(0.39894228040143267794), slope = x * density;
    return gy * (normal_cdf(x) + (density == T(0) ? T(0) : slope));
  }
};

struct Silu {  // x sigmoid(x)
  static constexpr const char* op = "silu";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    const T s = Sigmoid::f(x), y = x * s;
    return s == T(0) ? T(0) : y;  // at -inf too
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T s = Sigmoid::f(x), rest = Sigmoid::f(-x);  // 1 - s without its cancellation
    const T slope = s * (T(1) + x * rest);
    return gy * ((s == T(0)) | (rest == T(0)) ? s : slope);
  }
};

struct Hardswish {  // x relu6(x + 3) / 6 (Howard et al. 2019), 0 at -inf; the kinks have the middle's gradient
  static constexpr const char* op = "hardswish";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    return x <= T(-3) ? T(0) : x >= T(3) ? x : x * (x + T(3)) / T(6);
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    return x < T(-3) ? T(0) : x > T(3) ? gy : gy * (x / T(3) + T(0.5));
  }
};

// --- binary functors: y = f(a, b), da(a, b, gy) = gy * dy/da, db(a, b, gy) = gy * dy/db ----------------------------

// What a derivative reads besides gy; a derivative that reads nothing is a constant.
enum : unsigned { kReadsNothing = 0, kReadsA = 1, kReadsB = 2 };

struct Add {
  static constexpr const char* op = "add";
  static constexpr unsigned da_reads = kReadsNothing, db_reads = kReadsNothing;
  template <class T>
  MININN_FN T f(T a, T b) {
    return a + b;
  }
  template <class T>
  MININN_FN T da(T, T, T gy) {
    return gy;
  }
  template <class T>
  MININN_FN T db(T, T, T gy) {
    return gy;
  }
};

struct Sub {
  static constexpr const char* op = "sub";
  static constexpr unsigned da_reads = kReadsNothing, db_reads = kReadsNothing;
  template <class T>
  MININN_FN T f(T a, T b) {
    return a - b;
  }
  template <class T>
  MININN_FN T da(T, T, T gy) {
    return gy;
  }
  template <class T>
  MININN_FN T db(T, T, T gy) {
    return -gy;
  }
};

struct Mul {
  static constexpr const char* op = "mul";
  static constexpr unsigned da_reads = kReadsB, db_reads = kReadsA;
  template <class T>
  MININN_FN T f(T a, T b) {
    return a * b;
  }
  template <class T>
  MININN_FN T da(T, T b, T gy) {
    return gy * b;
  }
  template <class T>
  MININN_FN T db(T a, T, T gy) {
    return gy * a;
  }
};

struct Div {
  static constexpr const char* op = "div";
  static constexpr unsigned da_reads = kReadsB, db_reads = kReadsA | kReadsB;
  template <class T>
  MININN_FN T f(T a, T b) {
    return a / b;
  }
  template <class T>
  MININN_FN T da(T, T b, T gy) {
    return gy / b;
  }
  template <class T>
  MININN_FN T db(T a, T b, T gy) {
    if constexpr (std::is_same_v<T, float>)  // f64 holds every product and quotient on the way
      return T(-(double(gy) * double(a)) / (double(b) * double(b)));
    else
      return -(a / b) * (gy / b);  // of factors that overflow as late as the result
  }
};

// --- functors with a number: y = f(x, s), and df(s) = dy/dx, or grad(x, s, gy) = gy * dy/dx where that depends on x --

struct AddScalar {
  static constexpr const char* op = "add_scalar";
  template <class T>
  MININN_FN T f(T x, T s) {
    return x + s;
  }
  template <class T>
  MININN_FN T df(T) {
    return T(1);
  }
};

struct MulScalar {
  static constexpr const char* op = "mul_scalar";
  template <class T>
  MININN_FN T f(T x, T s) {
    return x * s;
  }
  template <class T>
  MININN_FN T df(T s) {
    return s;
  }
};

struct LeakyRelu {  // the number is the slope below 0 (Maas et al. 2013), and at 0
  static constexpr const char* op = "leaky_relu";
  template <class T>
  MININN_FN T f(T x, T slope) {
    return x <= T(0) ? x * slope : x;
  }
  template <class T>
  MININN_FN T grad(T x, T slope, T gy) {
    return x <= T(0) ? gy * slope : gy;
  }
};

// --- the lists: each functor with the name of its public function ----------------------------------------------------

// clang-format off
#define MININN_UNARY_OPS(X)                                                                                            \
  X(Neg, neg) X(Exp, exp) X(Log, log) X(Sqrt, sqrt) X(Square, square) X(Abs, abs) X(Relu, relu) X(Relu6, relu6)        \
  X(Sigmoid, sigmoid) X(Tanh, tanh) X(Gelu, gelu) X(Silu, silu) X(Hardswish, hardswish)
// clang-format on
#define MININN_BINARY_OPS(X) X(Add, add) X(Sub, sub) X(Mul, mul) X(Div, div)
#define MININN_SCALAR_OPS(X) X(AddScalar, add_scalar) X(MulScalar, mul_scalar) X(LeakyRelu, leaky_relu)

template <class... Fs>
struct Functors {
  static constexpr size_t size = sizeof...(Fs);
  template <class F>
  static constexpr bool contains = (std::is_same_v<F, Fs> || ...);
};

template <class Nothing, class... Fs>
Functors<Fs...> behind_first();
#define MININN_AND_FUNCTOR(F, name) , F
using UnaryOps = decltype(behind_first<void MININN_UNARY_OPS(MININN_AND_FUNCTOR)>());
using BinaryOps = decltype(behind_first<void MININN_BINARY_OPS(MININN_AND_FUNCTOR)>());
using ScalarOps = decltype(behind_first<void MININN_SCALAR_OPS(MININN_AND_FUNCTOR)>());
#undef MININN_AND_FUNCTOR
// In f32 arithmetic and comparisons only, no call of the maths library: compilers turn these into vector instructions.
using VectorUnaryOps = Functors<Neg, Exp, Log, Square, Abs, Relu, Relu6, Sigmoid, Tanh, Gelu, Silu, Hardswish>;
// Their derivative depends on x.
using CurvedScalarOps = Functors<LeakyRelu>;

// Calls fn.operator()<F>() for each functor of the list.
template <class... Fs, class Fn>
void for_each_functor(Functors<Fs...>, Fn&& fn) {
  (fn.template operator()<Fs>(), ...);
}

}  // namespace mininn::op
