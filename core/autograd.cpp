#include "core/autograd.h"

#include <algorithm>
#include <atomic>

#include "core/tensor_impl.h"

namespace mininn {
namespace {

thread_local bool grad_on = true;
thread_local Tracer* tracer = nullptr;

// Freeing a node frees its edges, which may free the nodes behind them, and so on down a graph of any depth. Nodes that
// come free while another is being deleted therefore wait here instead of recursing.
thread_local RecycledVector<Node*>* waiting = nullptr;

void dispose(Node* node) {
  if (waiting) {
    waiting->push_back(node);
    return;
  }
  RecycledVector<Node*> nodes{node};
  waiting = &nodes;
  while (!nodes.empty()) {
    Node* next = nodes.back();
    nodes.pop_back();
    delete next;
  }
  waiting = nullptr;
}

uint64_t next_sequence() {
  static std::atomic<uint64_t> counter{0};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

bool grad_enabled() { return grad_on; }
NoGradGuard::NoGradGuard() : previous_(grad_on) { grad_on = false; }
NoGradGuard::~NoGradGuard() { grad_on = previous_; }

Tracer* active_tracer() { return tracer; }
TracerGuard::TracerGuard(Tracer& t) : previous_(tracer) { tracer = &t; }
TracerGuard::~TracerGuard() { tracer = previous_; }

void record(const char* op, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor& y) {
  if (tracer) tracer->record(op, inputs, attrs, y);
}

Tensor Recipe::get() {
  if (const Tensor t = AutogradAccess::result(*this)) return t;
  const std::lock_guard lock(mutex_);
  if (!made_) {
    const NoGradGuard no_grad;
    made_ = make();
  }
  return made_;
}

void Recipe::depends_on(const Saved& operand) { depth_ = std::max(depth_, operand.depth() + 1); }

void set_recipe(Tensor& y, const std::shared_ptr<Recipe>& recipe) { AutogradAccess::set_recipe(y, recipe); }

Saved::Saved(const Tensor& t) {
  if (!t) return;
  recipe_ = AutogradAccess::recipe(t);
  if (recipe_) return;
  tensor_ = t.detach();
  version_ = t.storage()->version();
}

Tensor Saved::get() const {
  if (recipe_) return recipe_->get();
  if (tensor_ && tensor_.storage()->version() != version_)
    throw AutogradError(message("a tensor ", tensor_.shape(),
                                " needed for backward() was overwritten after it was saved (write ", version_,
                                " then, ", tensor_.storage()->version(), " now)"));
  return tensor_;
}

bool Tensor::requires_grad() const {
  const Autograd* meta = AutogradAccess::find(*this);
  return meta && (meta->requires_grad || meta->node);
}

Tensor& Tensor::set_requires_grad(bool on) {
  if (!is_leaf()) throw AutogradError("set_requires_grad: only a leaf can be told; this tensor was computed by an op");
  if (on && !is_floating(dtype()))
    throw AutogradError(message("set_requires_grad: a tensor of dtype ", mininn::name(dtype()), " has no gradient"));
  AutogradAccess::meta(*this).requires_grad = on;
  return *this;
}

bool Tensor::is_leaf() const {
  const Autograd* meta = AutogradAccess::find(*this);
  return !meta || !meta->node;
}

Tensor Tensor::grad() const {
  Autograd* meta = AutogradAccess::find(*this);
  if (!meta) return {};
  const std::lock_guard lock(meta->grad_mutex);
  return meta->grad;
}

void Tensor::set_grad(Tensor g) {
  if (g && (g.shape() != shape() || g.dtype() != dtype() || g.device() != device()))
    throw AutogradError(message("set_grad: a gradient ", g.shape(), ' ', mininn::name(g.dtype()), " on ",
                                to_string(g.device()), " for a tensor ", shape(), ' ', mininn::name(dtype()), " on ",
                                to_string(device())));
  Autograd& meta = AutogradAccess::meta(*this);
  const std::lock_guard lock(meta.grad_mutex);
  std::swap(meta.grad, g);  // what was there is freed after the lock
}

namespace detail {

bool any_requires_grad(std::span<const Tensor> inputs) {
  for (const Tensor& t : inputs)
    if (t && t.requires_grad()) return true;
  return false;
}

void link(Tensor& y, std::span<const Tensor> inputs, Node* raw) {
  std::shared_ptr<Node> node(raw, dispose, RecyclingAllocator<Node>());
  if (!y.is_leaf() || y.requires_grad()) throw AutogradError(message(raw->op(), ": the result has a history already"));
  node->sequence = next_sequence();
  node->inputs.reserve(inputs.size());
  for (const Tensor& t : inputs) {
    Edge edge;
    if (t && t.requires_grad()) {
      edge.shape = t.shape();
      edge.dtype = t.dtype();
      if (t.is_leaf())
        edge.leaf = t;
      else
        edge.node = AutogradAccess::find(t)->node;
    }
    node->inputs.push_back(std::move(edge));
  }
  AutogradAccess::meta(y).node = std::move(node);
}

}  // namespace detail
}  // namespace mininn
