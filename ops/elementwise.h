// Elementwise ops. Each is one functor in this file; kernels, gradient checks and benchmarks go through the lists
// below, so a new op is written here and nowhere else: the functor, its place in a list, its public function.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "core/autograd.h"
#include "core/convert.h"
#include "core/kernel.h"
#include "core/tensor.h"

// Functors are inlined into kernels of every instruction set, and never emitted on their own.
#ifdef __CUDACC__
#define MININN_FN static __host__ __device__ __forceinline__
#else
#define MININN_FN [[gnu::always_inline]] static inline
#endif

namespace mininn {

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
    return std::exp(x);
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
    return std::log(x);
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
    const T e = std::exp(-std::abs(x));
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
    return std::tanh(x);
  }
  // 1 / cosh(x)^2, whose cosh cannot overflow this way: 1 - y^2 cancels where y is near 1.
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T e = std::exp(-std::abs(x)), sech = T(2) * e / (T(1) + e * e);
    return gy * sech * sech;
  }
};

struct Gelu {  // x Phi(x) with the exact normal distribution function (Hendrycks & Gimpel 2016)
  static constexpr const char* op = "gelu";
  static constexpr Keeps keeps = Keeps::input;
  // Phi(x) = erfc(-x / sqrt 2) / 2 keeps its digits for negative x, where 1 + erf(x / sqrt 2) cancels.
  template <class T>
  MININN_FN T cdf(T x) {
    return T(0.5) * std::erfc(x * T(-0.70710678118654752440));
  }
  template <class T>
  MININN_FN T f(T x) {
    const T p = cdf(x);
    return p == T(0) ? T(0) : x * p;  // at -inf too
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T e = std::exp(T(-0.5) * x * x);
    return gy * (cdf(x) + (e == T(0) ? T(0) : x * T(0.39894228040143267794) * e));
  }
};

struct Silu {  // x sigmoid(x)
  static constexpr const char* op = "silu";
  static constexpr Keeps keeps = Keeps::input;
  template <class T>
  MININN_FN T f(T x) {
    const T s = Sigmoid::f(x);
    return s == T(0) ? T(0) : x * s;  // at -inf too
  }
  template <class T>
  MININN_FN T grad(T x, T gy) {
    const T s = Sigmoid::f(x), rest = Sigmoid::f(-x);  // 1 - s without its cancellation
    return gy * (s == T(0) || rest == T(0) ? s : s * (T(1) + x * rest));
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

// --- functors with a number: y = f(x, s), dy/dx = df(s) ------------------------------------------------------------

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

// --- the lists -----------------------------------------------------------------------------------------------------

template <class... Ops>
struct TypeList {
  static constexpr size_t size = sizeof...(Ops);
  template <class Op>
  static constexpr bool contains = (std::is_same_v<Op, Ops> || ...);
  template <class Op>
  requires contains<Op>
  static constexpr size_t index = [] {
    size_t i = 0;
    (void)((std::is_same_v<Op, Ops> || (++i, false)) || ...);
    return i;
  }();
};

using UnaryOps = TypeList<Neg, Exp, Log, Sqrt, Square, Abs, Relu, Relu6, Sigmoid, Tanh, Gelu, Silu>;
using BinaryOps = TypeList<Add, Sub, Mul, Div>;
using ScalarOps = TypeList<AddScalar, MulScalar>;
// Arithmetic and comparisons only, no call of the maths library: compilers turn these into vector instructions.
using VectorUnaryOps = TypeList<Neg, Square, Abs, Relu, Relu6>;

// Calls fn.operator()<Op>() for each type of the list.
template <class... Ops, class Fn>
void for_each_type(TypeList<Ops...>, Fn&& fn) {
  (fn.template operator()<Ops>(), ...);
}

// One kernel per op of a list.
template <class List, class Args>
struct PerOp {
  std::array<Kernel<Args>, List::size> kernels;
  template <class Op>
  const Kernel<Args>& of() const {
    return kernels[List::template index<Op>];
  }
};

// --- kernels -------------------------------------------------------------------------------------------------------

// All views of one call have the same shape (broadcast operands have stride 0) and the same floating dtype.
struct UnaryArgs {
  CView x;
  View y;
};
struct UnaryGradArgs {  // gx = grad(kept, gy)
  CView kept, gy;       // kept: the op's input or result as its functor says; gy itself if it keeps nothing
  View gx;
};
struct BinaryArgs {
  CView a, b;
  View y;
};
struct BinaryGradArgs {  // g = da(a, b, gy), or db
  CView a, b, gy;        // an operand that the derivative does not read is gy
  View g;
};
struct ScalarArgs {
  CView x;
  double s = 0;
  View y;
};

template <class Op>
KernelTable<UnaryArgs>& unary_kernels() {
  static KernelTable<UnaryArgs> table(Op::op);
  return table;
}
template <class Op>
KernelTable<UnaryGradArgs>& unary_grad_kernels() {
  static KernelTable<UnaryGradArgs> table(std::string(Op::op) + "_grad");
  return table;
}
template <class Op>
KernelTable<BinaryArgs>& binary_kernels() {
  static KernelTable<BinaryArgs> table(Op::op);
  return table;
}
// The tables of da (Input 0) and db (Input 1); empty where the derivative reads nothing.
template <class Op, int Input>
KernelTable<BinaryGradArgs>& binary_grad_kernels() {
  static KernelTable<BinaryGradArgs> table(std::string(Op::op) + (Input ? "_grad_b" : "_grad_a"));
  return table;
}
template <class Op>
KernelTable<ScalarArgs>& scalar_kernels() {
  static KernelTable<ScalarArgs> table(Op::op);
  return table;
}

// --- ops -----------------------------------------------------------------------------------------------------------
// f32, f64 and bf16 (computed in float); all differentiable. The result keeps the memory order of a dense operand that
// has its shape. Throw DTypeError for other dtypes, and ShapeError or DeviceError for operands that do not go together.

namespace detail {
Tensor run_unary(const KernelTable<UnaryArgs>& table, const Tensor& x);
Tensor run_unary_grad(const KernelTable<UnaryGradArgs>& table, const Tensor& kept, const Tensor& gy);
Tensor run_binary(const KernelTable<BinaryArgs>& table, const Tensor& a, const Tensor& b);
// Sums the result over the dimensions along which `shape` was broadcast.
Tensor run_binary_grad(const KernelTable<BinaryGradArgs>& table, const Tensor& a, const Tensor& b, const Tensor& gy,
                       const Shape& shape);
// The same for a constant derivative.
Tensor run_linear_grad(double derivative, const Tensor& gy, const Shape& shape);
Tensor run_scalar(const KernelTable<ScalarArgs>& table, const Tensor& x, double s);
}  // namespace detail

template <class Op>
struct UnaryBackward {
  static constexpr const char* op = Op::op;
  Saved kept;
  Grads backward(const Tensor& gy, const Wants&) const {
    return {detail::run_unary_grad(unary_grad_kernels<Op>(), kept ? kept.get() : gy, gy)};
  }
};

template <class Op>
Tensor unary(const Tensor& x) {
  const Tensor y = detail::run_unary(unary_kernels<Op>(), x);
  return attach<UnaryBackward<Op>>(y, {x}, {},
                                   Op::keeps == Keeps::input    ? x
                                   : Op::keeps == Keeps::result ? y
                                                                : Tensor());
}

template <class Op>
struct BinaryBackward {
  static constexpr const char* op = Op::op;
  Saved a, b;  // only what the wanted derivatives read
  Shape a_shape, b_shape;
  Grads backward(const Tensor& gy, const Wants& wants) const {
    return {wants[0] ? grad<0>(gy) : Tensor(), wants[1] ? grad<1>(gy) : Tensor()};
  }

 private:
  template <int Input>
  Tensor grad(const Tensor& gy) const {
    constexpr unsigned reads = Input ? Op::db_reads : Op::da_reads;
    const Shape& shape = Input ? b_shape : a_shape;
    if constexpr (reads == kReadsNothing) {
      return detail::run_linear_grad(Input ? Op::db(0.0, 0.0, 1.0) : Op::da(0.0, 0.0, 1.0), gy, shape);
    } else {
      return detail::run_binary_grad(binary_grad_kernels<Op, Input>(), reads & kReadsA ? a.get() : gy,
                                     reads & kReadsB ? b.get() : gy, gy, shape);
    }
  }
};

template <class Op>
Tensor binary(const Tensor& a, const Tensor& b) {
  const Tensor y = detail::run_binary(binary_kernels<Op>(), a, b);
  const unsigned reads = (a.requires_grad() ? Op::da_reads : 0) | (b.requires_grad() ? Op::db_reads : 0);
  return attach<BinaryBackward<Op>>(y, {a, b}, {}, reads & kReadsA ? a : Tensor(), reads & kReadsB ? b : Tensor(),
                                    a.shape(), b.shape());
}

template <class Op>
struct ScalarBackward {
  static constexpr const char* op = Op::op;
  double s;
  Grads backward(const Tensor& gy, const Wants&) const { return {detail::run_linear_grad(Op::df(s), gy, gy.shape())}; }
};

template <class Op>
Tensor scalar(const Tensor& x, double s) {
  const auto attrs = [s] { return Attrs{{"value", s}}; };
  return attach<ScalarBackward<Op>>(detail::run_scalar(scalar_kernels<Op>(), x, s), {x}, attrs, s);
}

inline Tensor neg(const Tensor& x) { return unary<Neg>(x); }
inline Tensor exp(const Tensor& x) { return unary<Exp>(x); }
inline Tensor log(const Tensor& x) { return unary<Log>(x); }
inline Tensor sqrt(const Tensor& x) { return unary<Sqrt>(x); }
inline Tensor square(const Tensor& x) { return unary<Square>(x); }
inline Tensor abs(const Tensor& x) { return unary<Abs>(x); }
inline Tensor relu(const Tensor& x) { return unary<Relu>(x); }
inline Tensor relu6(const Tensor& x) { return unary<Relu6>(x); }
inline Tensor sigmoid(const Tensor& x) { return unary<Sigmoid>(x); }
inline Tensor tanh(const Tensor& x) { return unary<Tanh>(x); }
inline Tensor gelu(const Tensor& x) { return unary<Gelu>(x); }
inline Tensor silu(const Tensor& x) { return unary<Silu>(x); }

// With NumPy broadcasting.
inline Tensor add(const Tensor& a, const Tensor& b) { return binary<Add>(a, b); }
inline Tensor sub(const Tensor& a, const Tensor& b) { return binary<Sub>(a, b); }
inline Tensor mul(const Tensor& a, const Tensor& b) { return binary<Mul>(a, b); }
inline Tensor div(const Tensor& a, const Tensor& b) { return binary<Div>(a, b); }

// The number is rounded to the dtype of x (float for bf16).
inline Tensor add_scalar(const Tensor& x, double s) { return scalar<AddScalar>(x, s); }
inline Tensor mul_scalar(const Tensor& x, double s) { return scalar<MulScalar>(x, s); }

inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator+(const Tensor& x, double s) { return add_scalar(x, s); }
inline Tensor operator+(double s, const Tensor& x) { return add_scalar(x, s); }
inline Tensor operator-(const Tensor& x, double s) { return add_scalar(x, -s); }
inline Tensor operator-(double s, const Tensor& x) { return add_scalar(neg(x), s); }
inline Tensor operator*(const Tensor& x, double s) { return mul_scalar(x, s); }
inline Tensor operator*(double s, const Tensor& x) { return mul_scalar(x, s); }
inline Tensor operator/(const Tensor& x, double s) {
  const bool normal = std::abs(s) >= 0x1p-126 && std::abs(s) <= 0x1p126;  // and so is the reciprocal, as a float
  return normal || (std::isfinite(s) && !stays_finite(s, x.dtype()))
             ? mul_scalar(x, 1 / s)
             : div(x, Tensor::full({}, s, x.dtype(), x.device()));
}
inline Tensor operator/(double s, const Tensor& x) { return div(Tensor::full({}, s, x.dtype(), x.device()), x); }

}  // namespace mininn
