#include "ops/softmax.h"

#include "core/autograd.h"
#include "ops/operand.h"

namespace mininn {
namespace {

struct Extents {
  int64_t outer = 1, n = 1, inner = 1;

  Extents(const Shape& s, int dim) : n(s[dim]) {
    for (int d = 0; d < dim; ++d) outer *= s[d];
    for (int d = dim + 1; d < s.rank(); ++d) inner *= s[d];
  }
};

Tensor softmax_gradient(const Extents& e, bool log, const Tensor& y, const Tensor& gy) {
  const Tensor gy_dense = detail::dense(gy);
  Tensor gx = Tensor::empty(gy.shape(), gy.dtype(), gy.device());
  kernels<op::SoftmaxBwd>().run({e.outer, e.n, e.inner, log, y.view(), gy_dense.view(), gx.mutable_view()},
                                gy.device());
  return gx;
}

struct SoftmaxBackward {
  static constexpr const char* op = "softmax";
  Extents e;
  Saved y;
  Grads backward(const Tensor& gy, const Wants&) const { return {softmax_gradient(e, false, y.get(), gy)}; }
};

struct LogSoftmaxBackward {
  static constexpr const char* op = "log_softmax";
  Extents e;
  Saved y;
  Grads backward(const Tensor& gy, const Wants&) const { return {softmax_gradient(e, true, y.get(), gy)}; }
};

template <class Backward>
Tensor run(const Tensor& x, int dim, bool log) {
  const auto in = detail::Operand(Backward::op, "x", x).floating();
  dim = normalize_dim(Backward::op, dim, x.rank());
  const Extents e(x.shape(), dim);
  const Tensor x_dense = in.dense();
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels<op::SoftmaxFwd>().run({e.outer, e.n, e.inner, log, x_dense.view(), y.mutable_view()}, x.device());
  return attach<Backward>(y, {x}, DimOptions{dim}, e, y);
}

TensorInfo infer(std::span<const TensorInfo> in, const DimOptions& o) {
  normalize_dim("softmax", o.dim, in[0].shape.rank());
  return in[0];
}

}  // namespace

Tensor softmax(const Tensor& x, int dim) { return run<SoftmaxBackward>(x, dim, false); }
Tensor log_softmax(const Tensor& x, int dim) { return run<LogSoftmaxBackward>(x, dim, true); }

constinit const OpDef opdef::softmax =
    define_op<DimOptions, [](auto in, const auto& o) { return mininn::softmax(in[0], o.dim); }, infer>(
        SoftmaxBackward::op);
constinit const OpDef opdef::log_softmax =
    define_op<DimOptions, [](auto in, const auto& o) { return mininn::log_softmax(in[0], o.dim); }, infer>(
        LogSoftmaxBackward::op);

}  // namespace mininn
