// What a Tensor handle points to. Private to core: tensor.cpp, autograd.cpp and engine.cpp.
#pragma once

#include <memory>
#include <string>

#include "core/tensor.h"

namespace mininn {

// Made when a tensor first needs it: most tensors of an inference run never do.
struct Tensor::Autograd {
  bool requires_grad = false;  // leaves only
  Tensor grad;
  std::shared_ptr<Node> node;  // the op call that made this tensor; null for leaves
  std::string name;
};

struct Tensor::Impl {
  std::shared_ptr<Storage> storage;
  Shape shape;
  Strides strides;
  int64_t offset = 0;
  DType dtype = DType::f32;
  std::unique_ptr<Autograd> autograd;
};

struct AutogradAccess {
  static Tensor::Autograd& meta(Tensor& t) {
    t.impl();  // throws if undefined
    if (!t.impl_->autograd) t.impl_->autograd = std::make_unique<Tensor::Autograd>();
    return *t.impl_->autograd;
  }
  static Tensor::Autograd* find(const Tensor& t) { return t.impl().autograd.get(); }
  static bool unique(const Tensor& t) { return t.impl_.use_count() == 1 && t.storage().use_count() == 1; }
};

}  // namespace mininn
