// Elementwise ops: the kernels' arguments and the public functions of the functors in ops/functors.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "core/convert.h"
#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/functors.h"
#include "ops/op.h"

namespace mininn {

// --- kernels -------------------------------------------------------------------------------------------------------

namespace op {

// The name of a functor's kernels: "exp_fwd".
template <class F, size_t N>
struct KernelName {
  char text[std::string_view(F::op).size() + N - 1];
  consteval explicit KernelName(const char (&suffix)[N]) {
    const std::string_view name(F::op);
    std::copy_n(suffix, N - 1, std::copy(name.begin(), name.end(), text));
  }
  constexpr operator std::string_view() const { return {text, sizeof text}; }
};
template <class F, size_t N>
consteval KernelName<F, N> kernel_name(const char (&suffix)[N]) {
  return KernelName<F, N>(suffix);
}

// All views of one call have the same shape (broadcast operands have stride 0) and the same floating dtype.
template <class F>
struct UnaryFwd {
  static constexpr auto op = kernel_name<F>("_fwd");
  CView x;
  View y;
};
template <class F>
struct UnaryBwd {  // gx = grad(kept, gy)
  static constexpr auto op = kernel_name<F>("_bwd");
  CView kept, gy;  // kept: the op's input or result as its functor says; gy itself if it keeps nothing
  View gx;
};
template <class F>
struct BinaryFwd {
  static constexpr auto op = kernel_name<F>("_fwd");
  CView a, b;
  View y;
};
// Neither exists where the functor says that the derivative reads nothing. An operand that it does not read is gy.
template <class F>
struct BinaryBwdA {  // g = da(a, b, gy)
  static constexpr auto op = kernel_name<F>("_bwd_a");
  CView a, b, gy;
  View g;
};
template <class F>
struct BinaryBwdB {  // g = db(a, b, gy)
  static constexpr auto op = kernel_name<F>("_bwd_b");
  CView a, b, gy;
  View g;
};
template <class F>
struct Scalar {
  static constexpr std::string_view op = F::op;
  CView x;
  double s = 0;
  View y;
};
// Exists where the derivative depends on x.
template <class F>
struct ScalarBwd {  // gx = grad(x, s, gy)
  static constexpr auto op = kernel_name<F>("_bwd");
  CView x, gy;
  double s = 0;
  View gx;
};

}  // namespace op

// --- ops -----------------------------------------------------------------------------------------------------------
// f32, f64 and bf16 (computed in float); all differentiable. The result keeps the memory order of a dense operand that
// has its shape. Throw DTypeError for other dtypes, and ShapeError or DeviceError for operands that do not go together.

namespace detail {
// s * x, neither differentiable nor traced.
Tensor times_constant(const Tensor& x, double s);
}  // namespace detail

// Of every functor in the lists.
template <class F>
Tensor unary(const Tensor& x);
template <class F>
Tensor binary(const Tensor& a, const Tensor& b);
template <class F>
Tensor scalar(const Tensor& x, double s);

struct ScalarOptions {  // of the ops with a number
  double value = 0;
};
template <class F>
void each_field(ScalarOptions& o, const F& field) {
  field("value", o.value);
}

namespace opdef {

template <class F>
struct OfFunctor {
  static const OpDef op;
};
// The op of each functor: opdef::functor<op::Relu>.
template <class F>
inline constexpr const OpDef& functor = OfFunctor<F>::op;
#define MININN_DECLARE(F, name) extern template const OpDef OfFunctor<op::F>::op;
MININN_UNARY_OPS(MININN_DECLARE)
MININN_BINARY_OPS(MININN_DECLARE)
MININN_SCALAR_OPS(MININN_DECLARE)
#undef MININN_DECLARE

}  // namespace opdef

// The public functions: relu(x) of op::Relu, add(a, b) with NumPy broadcasting of op::Add, add_scalar(x, s) of
// op::AddScalar, where the number is rounded to the dtype of x (float for bf16), and so on through the lists.
#define MININN_DEFINE(F, name) \
  inline Tensor name(const Tensor& x) { return unary<op::F>(x); }
MININN_UNARY_OPS(MININN_DEFINE)
#undef MININN_DEFINE
#define MININN_DEFINE(F, name) \
  inline Tensor name(const Tensor& a, const Tensor& b) { return binary<op::F>(a, b); }
MININN_BINARY_OPS(MININN_DEFINE)
#undef MININN_DEFINE
#define MININN_DEFINE(F, name) \
  inline Tensor name(const Tensor& x, double s) { return scalar<op::F>(x, s); }
MININN_SCALAR_OPS(MININN_DEFINE)
#undef MININN_DEFINE

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
