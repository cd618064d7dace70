// Matrix products, and the fully connected layer built on them.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

namespace op {

// What kernels get: c[i] = a[i] b[i] (+ bias on every row) for each of `batch` matrices. One floating dtype throughout.
// a, b and c may have any strides, so a transposed operand costs nothing; a batch stride of 0 repeats a matrix.
struct Matmul {
  static constexpr std::string_view op = "matmul";
  int64_t batch = 1, m = 0, n = 0, k = 0;
  CView a;     // [batch, m, k]
  CView b;     // [batch, k, n]
  CView bias;  // [n] contiguous, or absent
  View c;      // [batch, m, n]; overlaps nothing
};

}  // namespace op

// [M,K] x [K,N] -> [M,N] or [B,M,K] x [B,K,N] -> [B,M,N]. K may be 0: the result is then 0. f32, f64, bf16.
// Differentiable. Throws ShapeError, DTypeError, DeviceError.
Tensor matmul(const Tensor& a, const Tensor& b);

// x w^T + bias: [N,K] x [O,K] (+ [O]) -> [N,O]. `bias` may be undefined. f32, f64, bf16. Differentiable in all three.
// Throws ShapeError, DTypeError, DeviceError.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias);

namespace opdef {
extern const OpDef matmul, linear;
}

}  // namespace mininn
