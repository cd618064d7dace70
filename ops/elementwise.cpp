#include "ops/elementwise.h"

#include "core/autograd.h"
#include "ops/operand.h"
#include "ops/reduce.h"

namespace mininn {

namespace detail {

Tensor times_constant(const Tensor& x, double s) {
  Tensor y = Tensor::empty_like(x);
  kernels<op::Scalar<op::MulScalar>>().run({x.view(), s, y.mutable_view()}, x.device());
  return y;
}

}  // namespace detail

namespace {

// x as it is seen by gradients of that shape.
CView broadcast(const Tensor& x, const Shape& shape) {
  CView v = x.view();
  Strides strides;
  const int missing = shape.rank() - x.rank();
  for (int d = 0; d < shape.rank(); ++d)
    strides.push_back(d < missing || v.shape[d - missing] != shape[d] ? 0 : v.strides[d - missing]);
  return {v.data, shape, strides, v.dtype};
}

// Where the result of op `op` goes.
Tensor unary_result(const char* op, const Tensor& x) {
  detail::Operand(op, "x", x).floating();
  return Tensor::empty_like(x);
}

// Two operands that have been checked and broadcast to the shape of their result.
struct BinaryOperands {
  CView a, b;
  Tensor y;
};

BinaryOperands binary_operands(const char* op, const Tensor& a, const Tensor& b) {
  detail::Operand(op, "b", b).like(detail::Operand(op, "a", a).floating());
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  return {broadcast(a, shape), broadcast(b, shape),
          a.shape() == shape   ? Tensor::empty_like(a)
          : b.shape() == shape ? Tensor::empty_like(b)
                               : Tensor::empty(shape, a.dtype(), a.device())};
}

// gy times a constant derivative, summed over the dimensions along which `shape` was broadcast.
Tensor linear_grad(double derivative, const Tensor& gy, const Shape& shape) {
  const Tensor g = sum_to(gy, shape);
  return derivative == 1 ? g : detail::times_constant(g, derivative);
}

template <class F>
struct UnaryBackward {
  static constexpr const char* op = F::op;
  Saved kept;
  Grads backward(const Tensor& gy, const Wants&) const {
    const Tensor v = kept ? kept.get() : gy;
    Tensor gx = Tensor::empty_like(v);
    kernels<op::UnaryBwd<F>>().run({v.view(), gy.view(), gx.mutable_view()}, gy.device());
    return {gx};
  }
};

template <class F>
struct BinaryBackward {
  static constexpr const char* op = F::op;
  Saved a, b;  // only what the wanted derivatives read
  Shape a_shape, b_shape;
  Grads backward(const Tensor& gy, const Wants& wants) const {
    Tensor ga, gb;
    if (wants[0]) {
      if constexpr (F::da_reads)
        ga = grad<op::BinaryBwdA<F>>(F::da_reads, gy, a_shape);
      else
        ga = linear_grad(F::da(0.0, 0.0, 1.0), gy, a_shape);
    }
    if (wants[1]) {
      if constexpr (F::db_reads)
        gb = grad<op::BinaryBwdB<F>>(F::db_reads, gy, b_shape);
      else
        gb = linear_grad(F::db(0.0, 0.0, 1.0), gy, b_shape);
    }
    return {ga, gb};
  }

 private:
  template <class Args>
  Tensor grad(unsigned reads, const Tensor& gy, const Shape& shape) const {
    const Tensor& u = reads & op::kReadsA ? a.get() : gy;
    const Tensor& v = reads & op::kReadsB ? b.get() : gy;
    Tensor g = Tensor::empty_like(gy);
    kernels<Args>().run({broadcast(u, gy.shape()), broadcast(v, gy.shape()), gy.view(), g.mutable_view()}, gy.device());
    return sum_to(g, shape);
  }
};

template <class F>
struct ScalarBackward {
  static constexpr const char* op = F::op;
  double s;
  Saved x;  // only where the derivative depends on it
  Grads backward(const Tensor& gy, const Wants&) const {
    if constexpr (op::CurvedScalarOps::contains<F>) {
      Tensor gx = Tensor::empty_like(x.get());
      kernels<op::ScalarBwd<F>>().run({x.get().view(), gy.view(), s, gx.mutable_view()}, gy.device());
      return {gx};
    } else {
      return {linear_grad(F::df(s), gy, gy.shape())};
    }
  }
};

}  // namespace

template <class F>
Tensor unary(const Tensor& x) {
  Tensor y = unary_result(F::op, x);
  kernels<op::UnaryFwd<F>>().run({x.view(), y.mutable_view()}, x.device());
  return attach<UnaryBackward<F>>(y, {x}, {},
                                  F::keeps == op::Keeps::input    ? x
                                  : F::keeps == op::Keeps::result ? y
                                                                  : Tensor());
}

template <class F>
Tensor binary(const Tensor& a, const Tensor& b) {
  BinaryOperands o = binary_operands(F::op, a, b);
  kernels<op::BinaryFwd<F>>().run({o.a, o.b, o.y.mutable_view()}, a.device());
  const unsigned reads = (a.requires_grad() ? F::da_reads : 0) | (b.requires_grad() ? F::db_reads : 0);
  return attach<BinaryBackward<F>>(o.y, {a, b}, {}, reads & op::kReadsA ? a : Tensor(),
                                   reads & op::kReadsB ? b : Tensor(), a.shape(), b.shape());
}

template <class F>
Tensor scalar(const Tensor& x, double s) {
  Tensor y = unary_result(F::op, x);
  kernels<op::Scalar<F>>().run({x.view(), s, y.mutable_view()}, x.device());
  return attach<ScalarBackward<F>>(y, {x}, ScalarOptions{s}, s, op::CurvedScalarOps::contains<F> ? x : Tensor());
}

namespace opdef {

template <class F>
constinit const OpDef OfFunctor<F>::op = [] {
  if constexpr (op::UnaryOps::contains<F>)
    return define_op<NoOptions, [](auto in, const auto&) { return unary<F>(in[0]); }, like_first<NoOptions>>(F::op);
  else if constexpr (op::BinaryOps::contains<F>)
    return define_op<NoOptions, [](auto in, const auto&) { return binary<F>(in[0], in[1]); },
                     [](auto in, const auto&) {
                       return TensorInfo{broadcast_shapes(F::op, in[0].shape, in[1].shape), in[0].dtype};
                     }>(F::op, kTwoInputs);
  else
    return define_op<ScalarOptions, [](auto in, const auto& o) { return scalar<F>(in[0], o.value); },
                     like_first<ScalarOptions>>(F::op);
}();

}  // namespace opdef

// What the header declares, of every functor.
#define MININN_INSTANTIATE(F, name)            \
  template Tensor unary<op::F>(const Tensor&); \
  template const OpDef opdef::OfFunctor<op::F>::op;
MININN_UNARY_OPS(MININN_INSTANTIATE)
#undef MININN_INSTANTIATE
#define MININN_INSTANTIATE(F, name)                            \
  template Tensor binary<op::F>(const Tensor&, const Tensor&); \
  template const OpDef opdef::OfFunctor<op::F>::op;
MININN_BINARY_OPS(MININN_INSTANTIATE)
#undef MININN_INSTANTIATE
#define MININN_INSTANTIATE(F, name)                     \
  template Tensor scalar<op::F>(const Tensor&, double); \
  template const OpDef opdef::OfFunctor<op::F>::op;
MININN_SCALAR_OPS(MININN_INSTANTIATE)
#undef MININN_INSTANTIATE

}  // namespace mininn
