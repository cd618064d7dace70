// What a Tensor handle points to. Private to core: tensor.cpp, autograd.cpp and engine.cpp.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/tensor.h"

namespace mininn {

// Made when a tensor first needs it: most tensors of an inference run never do.
struct Tensor::Autograd {
  std::atomic<bool> requires_grad = false;  // leaves only
  std::mutex grad_mutex;                    // backward() of several threads may end in one leaf
  Tensor grad;
  std::shared_ptr<Node> node;  // the op call that made this tensor; null for leaves
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
  static bool unique(const Tensor& t) { return t.impl_.use_count() == 1 && t.storage().use_count() == 1; }
};

}  // namespace mininn
