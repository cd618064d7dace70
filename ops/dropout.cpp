#include "ops/dropout.h"

#include "core/autograd.h"
#include "ops/operand.h"

namespace mininn {

namespace {

struct DropoutBackward {
  static constexpr const char* op = "dropout";
  Saved mask;
  double scale;
  Grads backward(const Tensor& gy, const Wants&) const {
    Tensor gx = Tensor::empty_like(gy);
    kernels<op::DropoutBwd>().run({gy.view(), mask.get().view(), scale, gx.mutable_view()}, gy.device());
    return {gx};
  }
};

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, Generator& g) {
  if (!(p >= 0 && p < 1)) throw ValueError(message("dropout: the probability must be in [0, 1), got ", p));
  detail::Operand("dropout", "x", x).floating();
  if (!training || p == 0) return x;
  Tensor y = Tensor::empty_like(x), mask = Tensor::empty(x.shape(), DType::u8, x.device());
  const auto threshold = uint32_t(p * 0x1p32);
  const double scale = 1 / (1 - double(threshold) / 0x1p32);  // keeps the mean for the p that the words give, too
  kernels<op::DropoutFwd>().run(
      {x.view(), g.seed(), g.stream(), g.position(), threshold, scale, y.mutable_view(), mask.mutable_view()},
      x.device());
  g.set_position(g.position() + uint64_t(x.numel()));
  return attach<DropoutBackward>(std::move(y), {x}, DropoutOptions{p}, mask, scale);
}

constinit const OpDef opdef::dropout =
    define_op<DropoutOptions, [](auto in, const auto& o) { return mininn::dropout(in[0], o.p, false); },
              like_first<DropoutOptions>>(DropoutBackward::op);

}  // namespace mininn
