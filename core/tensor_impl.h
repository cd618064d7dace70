// What a Tensor handle points to. Private to core: tensor.cpp, autograd.cpp and engine.cpp.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/autograd.h"
#include "core/recycling_allocator.h"
#include "core/tensor.h"

namespace mininn {

// Made when a tensor first needs it: most tensors of an inference run never do.
struct Tensor::Autograd : Recycled {
  std::atomic<bool> requires_grad = false;  // leaves only
  std::mutex grad_mutex;                    // backward() of several threads may end in one leaf
  Tensor grad;
  std::shared_ptr<Node> node;    // the op call that made this tensor; null for leaves
  std::weak_ptr<Recipe> recipe;  // by which it can be made again; usually there is none
  std::string name;
};

struct Tensor::Impl {
  Impl() = default;
  ~Impl() { delete autograd.load(std::memory_order_relaxed); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::shared_ptr<Storage> storage;
  Shape shape;
  Strides strides;
  int64_t offset = 0;
  DType dtype = DType::f32;
  std::optional<QParams> qparams;
  std::atomic<Autograd*> autograd = nullptr;  // owned
};

struct AutogradAccess {
  static Tensor::Autograd& meta(Tensor& t) {
    if (Tensor::Autograd* const there = find(t)) return *there;
    auto fresh = std::make_unique<Tensor::Autograd>();
    Tensor::Autograd* other = nullptr;  // of a thread that was faster
    return t.impl_->autograd.compare_exchange_strong(other, fresh.get(), std::memory_order_acq_rel) ? *fresh.release()
                                                                                                    : *other;
  }
  static Tensor::Autograd* find(const Tensor& t) { return t.impl().autograd.load(std::memory_order_acquire); }
  // Null if it has none, or was written to since.
  static std::shared_ptr<Recipe> recipe(const Tensor& t) {
    const Tensor::Autograd* const meta = find(t);
    std::shared_ptr<Recipe> recipe = meta ? meta->recipe.lock() : nullptr;
    return recipe && recipe->version_ == t.storage()->version() ? recipe : nullptr;
  }
  static void set_recipe(Tensor& t, const std::shared_ptr<Recipe>& recipe) {
    if (recipe->depth_ > Recipe::kDeepest) return;
    recipe->result_ = t.impl_;
    recipe->version_ = t.storage()->version();
    meta(t).recipe = recipe;
  }
  // What a recipe is for; undefined if nobody holds it, or it was written to.
  static Tensor result(const Recipe& r) {
    const Tensor t(std::static_pointer_cast<Tensor::Impl>(r.result_.lock()));
    return t && t.storage()->version() == r.version_ ? t.detach() : Tensor();
  }
  static bool unique(const Tensor& t) { return t.impl_.use_count() == 1 && t.storage().use_count() == 1; }
};

}  // namespace mininn
