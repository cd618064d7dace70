// backward(): walks the recorded nodes from the newest to the oldest. An op's inputs are always older than the op, so
// by the time a node's turn comes every gradient that flows into it has been added up; no dependency counts are needed,
// and the order of additions, hence every bit of the result, is the same each time.
#include <functional>
#include <map>

#include "core/autograd.h"
#include "core/memory_ops.h"
#include "core/recycling_allocator.h"
#include "core/tensor_impl.h"

namespace mininn {

namespace {

struct Pending {
  std::shared_ptr<Node> node;
  Tensor grad;
  bool owned = false;  // made by the engine: nobody else sees it, so it may be added to in place
};

void add_into(Tensor& sum, bool& owned, const Tensor& g) {
  if (!sum) {
    sum = g;
    return;
  }
  const CView old = sum.view();
  Tensor y = owned ? sum : Tensor::empty_like(sum);
  kernels<op::Accumulate>().run({old, g.view(), y.mutable_view()}, sum.device());
  sum = y;
  owned = true;
}

void add_to_leaf(Tensor& leaf, Tensor g) {
  auto& meta = AutogradAccess::meta(leaf);
  const std::lock_guard lock(meta.grad_mutex);
  Tensor& grad = meta.grad;
  if (grad) {
    // Not in place where set_grad() gave an expanded view, or where g is another look at it.
    const bool in_place = !may_overlap_itself(grad.shape(), grad.strides()) && !may_overlap(grad.view(), g.view());
    Tensor sum = in_place ? grad : Tensor::empty_like(leaf);
    kernels<op::Accumulate>().run({grad.view(), g.view(), sum.mutable_view()}, leaf.device());
    grad = std::move(sum);
  } else if (g.strides() == leaf.strides() && AutogradAccess::unique(g)) {
    grad = std::move(g);
  } else {  // somebody else may hold g, or it is a broadcast view: the leaf gets its own, laid out like itself
    grad = Tensor::empty_like(leaf);
    grad.copy_from(g);
  }
}

// `device`: where the op works, and so all of its operands are.
void check(const Node& node, size_t input, const Tensor& g, Device device) {
  const Edge& e = node.inputs[input];
  if (g.device() != device)
    throw AutogradError(message(node.op(), ": backward returned a gradient on ", to_string(g.device()), " for input ",
                                input, " on ", to_string(device)));
  if (g.shape() != e.shape || g.dtype() != e.dtype)
    throw AutogradError(message(node.op(), ": backward returned a gradient ", g.shape(), ' ', name(g.dtype()),
                                " for input ", input, " of shape ", e.shape, ' ', name(e.dtype)));
}

}  // namespace

void Tensor::backward(const Tensor& gy) const {
  if (!requires_grad()) throw AutogradError("backward: nothing this tensor was computed from requires a gradient");
  if (!gy && numel() != 1)
    throw AutogradError(message("backward: a tensor ", shape(), " is no scalar; pass the gradient to start from"));
  if (gy && (gy.shape() != shape() || gy.dtype() != dtype() || gy.device() != device()))
    throw AutogradError(message("backward: the gradient ", mininn::name(gy.dtype()), gy.shape(), " on ",
                                to_string(gy.device()), " does not fit the tensor ", mininn::name(dtype()), shape(),
                                " on ", to_string(device())));

  const NoGradGuard no_grad;
  Tensor start = gy ? gy : full(shape(), 1.0, dtype(), device());
  if (is_leaf()) {
    Tensor self = *this;
    return add_to_leaf(self, std::move(start));
  }

  // By sequence, newest first.
  std::map<uint64_t, Pending, std::greater<>, RecyclingAllocator<std::pair<const uint64_t, Pending>>> pending;
  const auto& root = AutogradAccess::find(*this)->node;
  pending.emplace(root->sequence, Pending{root, std::move(start)});
  while (!pending.empty()) {
    Pending next = std::move(pending.extract(pending.begin()).mapped());
    Node& node = *next.node;
    if (node.walked.exchange(true, std::memory_order_acq_rel))
      throw AutogradError(
          message(node.op(), ": backward() was already called through this op; what it had saved is gone"));
    uint64_t wanted = 0;
    for (size_t i = 0; i < node.inputs.size() && i < 64; ++i) wanted |= uint64_t{bool(node.inputs[i])} << i;
    const Device device = next.grad.device();
    Grads grads = node.backward(next.grad, Wants(wanted));
    next.grad = {};
    node.release();
    if (grads.size() != node.inputs.size())
      throw AutogradError(
          message(node.op(), ": backward returned ", grads.size(), " gradients for ", node.inputs.size(), " inputs"));
    for (size_t i = 0; i < grads.size(); ++i) {
      Edge& edge = node.inputs[i];
      if (!edge || !grads[i]) continue;
      check(node, i, grads[i], device);
      if (edge.node) {
        Pending& p = pending[edge.node->sequence];
        p.node = edge.node;
        add_into(p.grad, p.owned, grads[i]);
        grads[i] = {};
      } else {
        add_to_leaf(edge.leaf, std::move(grads[i]));
      }
    }
  }
}

}  // namespace mininn
