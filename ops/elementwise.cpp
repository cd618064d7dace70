#include "ops/elementwise.h"

#include "ops/operand.h"

namespace mininn::detail {

CView broadcast(const Tensor& x, const Shape& shape) {
  CView v = x.view();
  Strides strides;
  const int missing = shape.rank() - x.rank();
  for (int d = 0; d < shape.rank(); ++d)
    strides.push_back(d < missing || v.shape[d - missing] != shape[d] ? 0 : v.strides[d - missing]);
  return {v.data, shape, strides, v.dtype};
}

Tensor unary_result(const char* op, const Tensor& x) {
  Operand(op, "x", x).floating();
  return Tensor::empty_like(x);
}

BinaryOperands binary_operands(const char* op, const Tensor& a, const Tensor& b) {
  Operand(op, "b", b).like(Operand(op, "a", a).floating());
  const Shape shape = broadcast_shapes(op, a.shape(), b.shape());
  return {broadcast(a, shape), broadcast(b, shape),
          a.shape() == shape   ? Tensor::empty_like(a)
          : b.shape() == shape ? Tensor::empty_like(b)
                               : Tensor::empty(shape, a.dtype(), a.device())};
}

Tensor times_constant(const Tensor& x, double s) {
  Tensor y = Tensor::empty_like(x);
  kernels<op::Scalar<op::MulScalar>>().run({x.view(), s, y.mutable_view()}, x.device());
  return y;
}

Tensor linear_grad(double derivative, const Tensor& gy, const Shape& shape) {
  const Tensor g = sum_to(gy, shape);
  return derivative == 1 ? g : times_constant(g, derivative);
}

}  // namespace mininn::detail
