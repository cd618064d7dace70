#include "ops/cast.h"

#include <algorithm>
#include <iterator>

#include "core/autograd.h"
#include "ops/operand.h"

namespace mininn {

namespace {

Tensor convert(const Tensor& x, DType dtype) {
  Tensor y = Tensor::empty(x.shape(), dtype, x.device(), detail::format_of(x));
  kernels<op::Copy>().run({x.view(), y.mutable_view()}, x.device());
  return y;
}

struct CastBackward {
  static constexpr const char* op = "cast";
  DType dtype;
  Grads backward(const Tensor& gy, const Wants&) const { return {convert(gy, dtype)}; }
};

}  // namespace

Tensor cast(const Tensor& x, DType dtype) {
  detail::Operand("cast", "x", x);
  if (x.dtype() == dtype) return x;
  const CastOptions o{dtype};
  Tensor y = convert(x, dtype);
  if (is_floating(x.dtype()) && is_floating(dtype)) return attach<CastBackward>(std::move(y), {x}, o, x.dtype());
  return recorded(opdef::cast, {x}, o, std::move(y));
}

constinit const OpDef opdef::cast =
    define_op<CastOptions, [](auto in, const auto& o) { return mininn::cast(in[0], o.dtype); },
              [](auto in, const auto& o) {
                if (std::ranges::find(kDTypes, o.dtype) == std::end(kDTypes)) throw ValueError("cast: to no dtype");
                return TensorInfo{in[0].shape, o.dtype};
              }>(CastBackward::op);

}  // namespace mininn
