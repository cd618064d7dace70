#include "nn/sequential.h"

namespace mininn::nn {

Tensor Sequential::forward(const Tensor& x) {
  Tensor y = x;
  for (const auto& child : children_) y = child->forward(y);
  return y;
}

}  // namespace mininn::nn
