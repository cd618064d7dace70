#include "nn/sequential.h"

#include "core/error.h"

namespace mininn::nn {

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const auto& child : children_) y = child->forward(y);
  return y;
}

Module& Sequential::operator[](size_t i) {
  if (i >= children_.size()) throw ValueError(message("nn::Sequential: there is no module ", i, " of ", size()));
  return *children_[i];
}

}  // namespace mininn::nn
