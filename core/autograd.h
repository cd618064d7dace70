// Reverse-mode differentiation.
//
// An op names its gradient as a plain struct that keeps what it needs and returns one gradient per input:
//
//   struct MulBackward {
//     static constexpr const char* op = "mul";
//     Saved a, b;
//     Grads backward(const Tensor& gy, const Wants& wants) const { ... return {ga, gb}; }
//   };
//   ...
//   return attach<MulBackward>(y, {a, b}, {}, a, b);
//
// Only the engine (core/engine.cpp) adds gradients up, and it checks their shape, dtype and device there.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "core/kernel.h"
#include "core/recycling_allocator.h"
#include "core/tensor.h"
#include "core/tracer.h"

namespace mininn {

using Grads = RecycledVector<Tensor>;  // one per input; undefined where none is wanted or none exists

// Which inputs need a gradient. From the 65th input on (a cat of many tensors) the answer is always yes.
class Wants {
 public:
  explicit Wants(uint64_t mask) : mask_(mask) {}
  bool operator[](int input) const { return input >= 64 || ((mask_ >> input) & 1); }

 private:
  uint64_t mask_;
};

class Saved;

// How to make the result of an op again from what its node keeps anyway. Whoever saves the result for backward keeps
// the recipe instead of the elements (Chen et al. 2016, "Training deep nets with sublinear memory cost").
class Recipe {
 public:
  virtual ~Recipe() = default;
  // The result itself while somebody holds it; else one that the first call makes and that stays until the recipe goes.
  Tensor get();

 protected:
  void depends_on(const Saved& operand);

 private:
  friend struct AutogradAccess;
  friend class Saved;
  virtual Tensor make() const = 0;  // by the same kernel to the same bits

  // Of recipes behind each other, which all make their results when the last one is asked.
  static constexpr int kDeepest = 4;
  int depth_ = 1;
  std::weak_ptr<void> result_;
  uint64_t version_ = 0;  // of its storage, when the op had made it
  std::mutex mutex_;
  Tensor made_;
};

// Gives `y`, which an op has just made, its recipe, which stays as long as somebody has saved `y`. Does nothing for the
// last one of a long chain. Once `y` is written to, it is saved as other tensors are.
void set_recipe(Tensor& y, const std::shared_ptr<Recipe>& recipe);

// A tensor kept for backward. Reading it throws AutogradError if its storage was written in between.
class Saved {
 public:
  Saved() = default;
  Saved(const Tensor& t);
  Tensor get() const;
  explicit operator bool() const { return tensor_ || recipe_; }
  int depth() const { return recipe_ ? recipe_->depth_ : 0; }  // of recipes

 private:
  Tensor tensor_;
  uint64_t version_ = 0;
  std::shared_ptr<Recipe> recipe_;  // in place of them
};

// Where a gradient flows on to: the node that made the input, or the leaf itself; neither if none is wanted.
struct Edge {
  std::shared_ptr<Node> node;
  Tensor leaf;
  Shape shape;  // of the input, and so of the gradient that backward() returns for it
  DType dtype = DType::f32;
  explicit operator bool() const { return node || leaf; }
};

// One recorded op call. Made by attach(), walked by the engine.
struct Node : Recycled {
  virtual ~Node() = default;
  virtual Grads backward(const Tensor& gy, const Wants& wants) = 0;
  virtual void release() = 0;  // drops what was saved
  virtual const char* op() const = 0;

  RecycledVector<Edge> inputs;
  uint64_t sequence = 0;  // creation order: an op's inputs always have smaller numbers
  // Set by the backward() that comes first, in whatever thread; any other throws AutogradError.
  std::atomic<bool> walked = false;
};

// True unless a NoGradGuard is alive in this thread.
bool grad_enabled();

class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool previous_;
};

namespace detail {

template <class B>
struct NodeOf final : Node {
  explicit NodeOf(B b) : body(std::move(b)) {}
  Grads backward(const Tensor& gy, const Wants& wants) override { return body->backward(gy, wants); }
  void release() override { body.reset(); }
  const char* op() const override { return B::op; }
  std::optional<B> body;
};

bool any_requires_grad(std::span<const Tensor> inputs);
// Links `node` behind `y` and frees it without recursion when its last owner goes.
void link(Tensor& y, std::span<const Tensor> inputs, Node* node);

}  // namespace detail

// Tells an active tracer about an op call. attach() does it already; only ops without a gradient call it.
void record(const char* op, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor& y);

// Records that `y` was computed from `inputs` with these options (core/attributes.h), and that B{saved...} knows its
// gradient. Nothing is kept under NoGradGuard or when no input requires a gradient.
template <class B, class Options, class... SavedArgs>
Tensor attach(Tensor y, std::span<const Tensor> inputs, const Options& options, SavedArgs&&... saved) {
  if (active_tracer()) record(B::op, inputs, to_attrs(options), y);
  static_assert(alignof(detail::NodeOf<B>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);  // Recycled
  if (grad_enabled() && detail::any_requires_grad(inputs))
    detail::link(y, inputs, new detail::NodeOf<B>(B{std::forward<SavedArgs>(saved)...}));
  return y;
}
template <class B, class Options = NoOptions, class... SavedArgs>
Tensor attach(Tensor y, std::initializer_list<Tensor> inputs, const Options& options, SavedArgs&&... saved) {
  return attach<B>(std::move(y), std::span<const Tensor>(inputs.begin(), inputs.size()), options,
                   std::forward<SavedArgs>(saved)...);
}

}  // namespace mininn
