#include "quant/weights/nearest.h"

#include <algorithm>
#include <cmath>

namespace mininn::quant {

Tensor nearest(const WeightGrid& g) {
  Tensor out = Tensor::empty(g.shape, DType::i8);
  const std::span<int8_t> codes = out.mutable_data<int8_t>();
  const size_t size = g.scale.empty() ? 0 : codes.size() / g.scale.size();
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = int8_t(std::clamp(std::nearbyint(g.w[i] / g.scale[i / size]), -127.0, 127.0));
  return out;
}

}  // namespace mininn::quant
