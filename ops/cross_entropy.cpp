#include "ops/cross_entropy.h"

#include "core/autograd.h"
#include "ops/operand.h"

namespace mininn {
namespace {

using detail::Operand;

struct CrossEntropyBackward {
  static constexpr const char* op = "cross_entropy";
  double label_smoothing;
  Saved probs, labels;

  Grads backward(const Tensor& gy, const Wants&) const {
    const Tensor& p = probs.get();
    Tensor gx = Tensor::empty_like(p);
    kernels<op::CrossEntropyBwd>().run(
        {p.size(0), p.size(1), label_smoothing, p.view(), labels.get().view(), gy.view(), gx.mutable_view()},
        p.device());
    return {gx, {}};
  }
};

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o) {
  constexpr const char* op = CrossEntropyBackward::op;
  const Operand in = Operand(op, "logits", logits).is(DType::f32, DType::f64);
  const Operand classes = Operand(op, "labels", labels).is(DType::i64).beside(in);
  if (logits.rank() != 2 || labels.rank() != 1 || logits.size(0) != labels.size(0) || logits.numel() == 0)
    throw ShapeError(message("cross_entropy takes logits [N,C] and labels [N] with N and C positive, not ",
                             logits.shape(), " and ", labels.shape()));
  if (!(o.label_smoothing >= 0 && o.label_smoothing < 1))
    throw ValueError(message("cross_entropy: label_smoothing must be in [0, 1), not ", o.label_smoothing));

  const int64_t n = logits.size(0), c = logits.size(1);
  const Device device = logits.device();
  const Tensor logits_dense = in.dense(), labels_dense = classes.dense();
  Tensor probs = Tensor::empty({n, c}, logits.dtype(), device), loss = Tensor::empty({}, logits.dtype(), device);
  kernels<op::CrossEntropyFwd>().run(
      {n, c, o.label_smoothing, logits_dense.view(), labels_dense.view(), probs.mutable_view(), loss.mutable_view()},
      device);
  return attach<CrossEntropyBackward>(std::move(loss), {logits, labels}, o, o.label_smoothing, probs, labels_dense);
}

constinit const OpDef opdef::cross_entropy =
    define_op<CrossEntropyOptions, [](auto in, const auto& o) { return mininn::cross_entropy(in[0], in[1], o); },
              [](auto in, const auto&) {
                return TensorInfo{{}, in[0].dtype};
              }>(CrossEntropyBackward::op, kTwoInputs, Sizes::reduced);

}  // namespace mininn
