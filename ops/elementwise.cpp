#include "ops/elementwise.h"

#include "ops/reduce.h"

namespace mininn::detail {

namespace {

void check_floating(const std::string& op, const Tensor& x) {
  if (!x) throw ShapeError(message(op, ": an operand is an undefined tensor"));
  if (!is_floating(x.dtype()))
    throw DTypeError(message(op, ": needs a floating dtype, got ", name(x.dtype()), x.shape()));
}

// The same elements seen with `shape`: size-1 and missing dimensions get stride 0.
CView broadcast(const Tensor& x, const Shape& shape) {
  CView v = x.view();
  Strides strides;
  const int missing = shape.rank() - x.rank();
  for (int d = 0; d < shape.rank(); ++d)
    strides.push_back(d < missing || v.shape[d - missing] != shape[d] ? 0 : v.strides[d - missing]);
  return {v.data, shape, strides, v.dtype};
}

}  // namespace

Tensor run_unary(const KernelTable<UnaryArgs>& table, const Tensor& x) {
  check_floating(table.op(), x);
  Tensor y = Tensor::empty_like(x);
  table.run({x.view(), y.mutable_view()}, x.device());
  return y;
}

Tensor run_unary_grad(const KernelTable<UnaryGradArgs>& table, const Tensor& kept, const Tensor& gy) {
  Tensor gx = Tensor::empty_like(kept);
  table.run({kept.view(), gy.view(), gx.mutable_view()}, gy.device());
  return gx;
}

Tensor run_binary(const KernelTable<BinaryArgs>& table, const Tensor& a, const Tensor& b) {
  const std::string& op = table.op();
  check_floating(op, a);
  check_floating(op, b);
  if (a.dtype() != b.dtype())
    throw DTypeError(message(op, ": dtypes differ: ", name(a.dtype()), a.shape(), " and ", name(b.dtype()), b.shape()));
  if (a.device() != b.device())
    throw DeviceError(message(op, ": operands are on ", to_string(a.device()), " and ", to_string(b.device())));
  const Shape shape = broadcast_shapes(op.c_str(), a.shape(), b.shape());
  Tensor y = a.shape() == shape   ? Tensor::empty_like(a)
             : b.shape() == shape ? Tensor::empty_like(b)
                                  : Tensor::empty(shape, a.dtype(), a.device());
  table.run({broadcast(a, shape), broadcast(b, shape), y.mutable_view()}, a.device());
  return y;
}

Tensor run_binary_grad(const KernelTable<BinaryGradArgs>& table, const Tensor& a, const Tensor& b, const Tensor& gy,
                       const Shape& shape) {
  const Shape& full = gy.shape();
  Tensor g = Tensor::empty_like(gy);
  table.run({broadcast(a, full), broadcast(b, full), gy.view(), g.mutable_view()}, gy.device());
  return sum_to(g, shape);
}

Tensor run_linear_grad(double derivative, const Tensor& gy, const Shape& shape) {
  const Tensor g = sum_to(gy, shape);
  return derivative == 1 ? g : run_scalar(scalar_kernels<MulScalar>(), g, derivative);
}

Tensor run_scalar(const KernelTable<ScalarArgs>& table, const Tensor& x, double s) {
  check_floating(table.op(), x);
  Tensor y = Tensor::empty_like(x);
  table.run({x.view(), s, y.mutable_view()}, x.device());
  return y;
}

}  // namespace mininn::detail
