#include "ops/reduce.h"

#include "core/autograd.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/operand.h"

namespace mininn {

namespace {

// What a reduction of x gives with keepdim, and without.
struct Shapes {
  Shape kept, dropped;
};

Shapes reduced_shapes(const char* op, const Shape& x, const DimList& dims) {
  bool reduced[kMaxRank] = {};
  for (const int64_t dim : dims) {
    bool& r = reduced[normalize_dim(op, dim, x.rank())];
    if (r) throw ShapeError(message(op, ": dimension ", dim, " of ", x, " is named twice"));
    r = true;
  }
  Shapes s;
  for (int d = 0; d < x.rank(); ++d) {
    const bool r = dims.rank() == 0 || reduced[d];
    s.kept.push_back(r ? 1 : x[d]);
    if (!r) s.dropped.push_back(x[d]);
  }
  return s;
}
Shapes reduced_shapes(const char* op, const Tensor& x, const DimList& dims) {
  detail::Operand(op, "x", x).floating();
  return reduced_shapes(op, x.shape(), dims);
}

// Without history: the results here are dense.
Tensor with_shape(const Tensor& dense, const Shape& shape) {
  return dense.as_strided(shape, contiguous_strides(shape));
}

Tensor run_sum(const Tensor& x, const Shape& kept, double scale) {
  Tensor y = Tensor::empty(kept, x.dtype(), x.device());
  kernels<op::Sum>().run({x.view(), scale, y.mutable_view()}, x.device());
  return y;
}

// A view of gy, which has the shape `kept` or the same without its ones, that looks like the operand.
Tensor spread(const Tensor& gy, const Shape& kept, const Shape& x) { return expand(reshape(gy, kept), x); }

struct SumBackward {
  static constexpr const char* op = "sum";
  Shape kept, x;
  Grads backward(const Tensor& gy, const Wants&) const { return {spread(gy, kept, x)}; }
};

struct MeanBackward {
  static constexpr const char* op = "mean";
  Shape kept, x;
  double scale;
  Grads backward(const Tensor& gy, const Wants&) const { return {spread(detail::times_constant(gy, scale), kept, x)}; }
};

struct AmaxBackward {
  static constexpr const char* op = "amax";
  Saved index;
  Shape x;
  Grads backward(const Tensor& gy, const Wants&) const {
    Tensor gx = Tensor::empty(x, gy.dtype(), gy.device());
    const Tensor g = reshape(gy, index.get().shape());
    kernels<op::AmaxBwd>().run({g.view(), index.get().view(), gx.mutable_view()}, gy.device());
    return {gx};
  }
};

void check_not_empty(const char* op, const Shape& x, const Shapes& s) {
  if (numel(x) == 0 && numel(s.kept) != 0)
    throw ShapeError(message(op, ": there is no maximum over an empty dimension of ", x));
}

}  // namespace

Tensor sum(const Tensor& x, const DimList& dims, bool keepdim) {
  const Shapes s = reduced_shapes("sum", x, dims);
  const Tensor y = with_shape(run_sum(x, s.kept, 1), keepdim ? s.kept : s.dropped);
  return attach<SumBackward>(y, {x}, ReduceOptions{dims, keepdim}, s.kept, x.shape());
}

Tensor mean(const Tensor& x, const DimList& dims, bool keepdim) {
  const Shapes s = reduced_shapes("mean", x, dims);
  const double scale = double(numel(s.kept)) / double(x.numel());
  const Tensor y = with_shape(run_sum(x, s.kept, scale), keepdim ? s.kept : s.dropped);
  return attach<MeanBackward>(y, {x}, ReduceOptions{dims, keepdim}, s.kept, x.shape(), scale);
}

Tensor amax(const Tensor& x, const DimList& dims, bool keepdim) {
  const Shapes s = reduced_shapes("amax", x, dims);
  check_not_empty("amax", x.shape(), s);
  Tensor y = Tensor::empty(s.kept, x.dtype(), x.device());
  Tensor index = x.requires_grad() && grad_enabled() ? Tensor::empty(s.kept, DType::i64, x.device()) : Tensor();
  kernels<op::AmaxFwd>().run({x.view(), y.mutable_view(), index ? index.mutable_view() : View()}, x.device());
  return attach<AmaxBackward>(with_shape(y, keepdim ? s.kept : s.dropped), {x}, ReduceOptions{dims, keepdim}, index,
                              x.shape());
}

Tensor argmax(const Tensor& x, int dim, bool keepdim) {
  const Shapes s = reduced_shapes("argmax", x, {dim});
  check_not_empty("argmax", x.shape(), s);
  Tensor index = Tensor::empty(s.kept, DType::i64, x.device());
  kernels<op::AmaxFwd>().run({x.view(), View(), index.mutable_view()}, x.device());
  return recorded(opdef::argmax, {x}, ArgmaxOptions{dim, keepdim}, with_shape(index, keepdim ? s.kept : s.dropped));
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  detail::Operand("sum_to", "x", x);
  if (x.shape() == shape) return x;
  const int missing = x.rank() - shape.rank();
  DimList dims;
  bool fits = missing >= 0;
  for (int d = 0; fits && d < x.rank(); ++d) {
    const int64_t size = d < missing ? 1 : shape[d - missing];
    if (d < missing || size != x.shape()[d]) dims.push_back(d);
    fits = size == 1 || size == x.shape()[d];
  }
  if (!fits) throw ShapeError(message("sum_to: ", shape, " does not broadcast to ", x.shape()));
  return reshape(dims.rank() == 0 ? x : sum(x, dims, true), shape);
}

namespace {

// `maximum`: one that is over no element does not exist.
TensorInfo infer(const char* op, const TensorInfo& x, const ReduceOptions& o, DType dtype, bool maximum) {
  const Shapes s = reduced_shapes(op, x.shape, o.dims);
  if (maximum) check_not_empty(op, x.shape, s);
  return {o.keepdim ? s.kept : s.dropped, dtype};
}

template <class Backward, auto Fn, bool maximum = false>
constexpr OpDef kReduction =
    define_op<ReduceOptions, [](auto in, const auto& o) { return Fn(in[0], o.dims, o.keepdim); },
              [](auto in, const auto& o) { return infer(Backward::op, in[0], o, in[0].dtype, maximum); }>(
        Backward::op, kOneInput, Sizes::reduced);

}  // namespace

constinit const OpDef opdef::sum = kReduction<SumBackward, mininn::sum>;
constinit const OpDef opdef::mean = kReduction<MeanBackward, mininn::mean>;
constinit const OpDef opdef::amax = kReduction<AmaxBackward, mininn::amax, true>;
constinit const OpDef opdef::argmax =
    define_op<ArgmaxOptions, [](auto in, const auto& o) { return mininn::argmax(in[0], o.dim, o.keepdim); },
              [](auto in, const auto& o) {
                return infer("argmax", in[0], {{o.dim}, o.keepdim}, DType::i64, true);
              }>("argmax", kOneInput, Sizes::reduced);

}  // namespace mininn
