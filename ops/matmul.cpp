#include "ops/matmul.h"

#include "core/autograd.h"
#include "ops/operand.h"
#include "ops/reduce.h"
#include "ops/work.h"

namespace mininn {
namespace {

using detail::Operand;

// A matrix, or a batch of them, as [batch, rows, columns].
CView matrices(const Tensor& t) {
  CView v = t.view();
  if (v.shape.rank() == 2) {
    v.shape = {1, v.shape[0], v.shape[1]};
    v.strides = {0, v.strides[0], v.strides[1]};
  }
  return v;
}

CView transposed(CView v) {
  v.shape = {v.shape[0], v.shape[2], v.shape[1]};
  v.strides = {v.strides[0], v.strides[2], v.strides[1]};
  return v;
}

// a b + bias as a contiguous tensor of this shape, [M,N] or [B,M,N].
Tensor product(const Shape& shape, DType dtype, Device device, const CView& a, const CView& b, const CView& bias = {}) {
  Tensor y = Tensor::empty(shape, dtype, device);
  const int64_t batch = a.shape[0], m = a.shape[1], k = a.shape[2], n = b.shape[2];
  const View c(y.mutable_view().data, {batch, m, n}, {m * n, n, 1}, dtype);
  kernels<op::Matmul>().run({batch, m, n, k, a, b, bias, c}, device);
  return y;
}

struct MatmulBackward {
  static constexpr const char* op = "matmul";
  Saved a, b;

  Grads backward(const Tensor& gy, const Wants& wants) const {
    const auto gradient = [&](const Tensor& input, const CView& left, const CView& right) {
      return product(input.shape(), gy.dtype(), gy.device(), left, right);
    };
    Grads grads(2);
    if (wants[0]) grads[0] = gradient(a.get(), matrices(gy), transposed(matrices(b.get())));
    if (wants[1]) grads[1] = gradient(b.get(), transposed(matrices(a.get())), matrices(gy));
    return grads;
  }
};

struct LinearBackward {
  static constexpr const char* op = "linear";
  Saved x, w;

  Grads backward(const Tensor& gy, const Wants& wants) const {
    const auto gradient = [&](const Tensor& input, const CView& left, const CView& right) {
      return product(input.shape(), gy.dtype(), gy.device(), left, right);
    };
    Grads grads(3);
    if (wants[0]) grads[0] = gradient(x.get(), matrices(gy), matrices(w.get()));
    if (wants[1]) grads[1] = gradient(w.get(), transposed(matrices(gy)), matrices(x.get()));
    if (wants[2]) grads[2] = sum(gy, {0});
    return grads;
  }
};

Shape matmul_shape(const Shape& a, const Shape& b) {
  const int rank = a.rank();
  if ((rank != 2 && rank != 3) || b.rank() != rank || a[rank - 1] != b[rank - 2] || (rank == 3 && a[0] != b[0]))
    throw ShapeError(message("matmul takes [M,K] x [K,N] or [B,M,K] x [B,K,N], not ", a, " x ", b));
  return rank == 2 ? Shape{a[0], b[1]} : Shape{a[0], a[1], b[2]};
}

Shape linear_shape(const Shape& x, const Shape& w) {
  if (x.rank() != 2 || w.rank() != 2 || x[1] != w[1])
    throw ShapeError(message("linear takes x [N,K] and w [O,K], not ", x, " and ", w));
  return {x[0], w[0]};
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  Operand("matmul", "b", b).like(Operand("matmul", "a", a).floating());
  const Shape sy = matmul_shape(a.shape(), b.shape());
  return attach<MatmulBackward>(product(sy, a.dtype(), a.device(), matrices(a), matrices(b)), {a, b}, {}, a, b);
}

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias) {
  const Operand in = Operand("linear", "x", x).floating();
  Operand("linear", "w", w).like(in);
  const Shape sy = linear_shape(x.shape(), w.shape());
  const Tensor bias_dense = bias ? Operand("linear", "bias", bias).like(in).shape({w.size(0)}).dense() : Tensor();
  Tensor y =
      product(sy, x.dtype(), x.device(), matrices(x), transposed(matrices(w)), detail::optional_view(bias_dense));
  return attach<LinearBackward>(std::move(y), {x, w, bias}, {}, x, w);
}

constinit const OpDef opdef::matmul =
    costs(define_op<NoOptions, [](auto in, const auto&) { return mininn::matmul(in[0], in[1]); },
                    [](auto in, const auto&) {
                      return TensorInfo{matmul_shape(in[0].shape, in[1].shape), in[0].dtype};
                    }>(MatmulBackward::op, kTwoInputs, Sizes::reduced),
          matmul_work);
constinit const OpDef opdef::linear =
    costs(define_op<NoOptions, [](auto in, const auto&) { return mininn::linear(in[0], in[1], in[2]); },
                    [](auto in, const auto&) {
                      const TensorInfo y{linear_shape(in[0].shape, in[1].shape), in[0].dtype};
                      detail::check_info("linear", "w", in[1], {in[1].shape, y.dtype});
                      detail::check_info("linear", "bias", in[2], {{y.shape[1]}, y.dtype});
                      return y;
                    }>(LinearBackward::op, {3, 3, 0b100}),
          layer_work);

}  // namespace mininn
