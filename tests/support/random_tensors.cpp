#include "tests/support/random_tensors.h"

#include <cstdlib>
#include <numeric>
#include <vector>

namespace mininn::testing {

uint64_t test_seed() {
  const char* text = std::getenv("MININN_TEST_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 20240607;
}

Shape RandomTensors::shape(int max_rank, int64_t max_size) {
  Shape s;
  for (int64_t rank = between(0, max_rank); s.rank() < rank;)
    s.push_back(chance(0.04) ? 0 : chance(0.2) ? 1 : between(2, max_size));
  return s;
}

Shape RandomTensors::broadcastable(const Shape& to) {
  Shape s;
  for (int d = chance(0.5) ? 0 : int(between(0, to.rank())); d < to.rank(); ++d) s.push_back(chance(0.3) ? 1 : to[d]);
  return s;
}

Tensor RandomTensors::tensor(const Shape& shape, DType dtype) {
  const int rank = shape.rank();
  std::vector<int> order(static_cast<size_t>(rank));  // outermost first
  std::iota(order.begin(), order.end(), 0);
  if (rank == 4 && chance(0.3)) {
    order = {0, 2, 3, 1};
  } else if (chance(0.5)) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[g_.below(i)]);
  }
  const bool gaps = chance(0.4), expanded = chance(0.2);
  Strides strides;
  for (int d = 0; d < rank; ++d) strides.push_back(0);
  int64_t elements = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const int d = order[i];
    if (expanded && chance(0.4)) continue;
    const int64_t step = gaps ? between(1, 3) : 1;
    strides[d] = elements * step;
    elements *= shape[d] * step + (gaps ? between(0, 2) : 0);
  }
  const int64_t offset = gaps ? between(0, 5) : 0;
  const int64_t total = offset + std::max<int64_t>(elements, 1);
  std::vector<double> values(static_cast<size_t>(total));
  for (double& v : values) v = is_floating(dtype) ? g_.normal() : double(between(dtype == DType::u8 ? 0 : -9, 9));
  Tensor base = Tensor::empty({total}, dtype);
  base.copy_from(Tensor::from(values, {total}));
  return base.as_strided(shape, strides, offset);
}

Tensor RandomTensors::away_from_zero(const Shape& shape, double low, double high, bool positive) {
  std::vector<double> values(static_cast<size_t>(numel(shape)));
  for (double& v : values) v = (low + (high - low) * g_.uniform()) * (positive || chance(0.5) ? 1 : -1);
  return Tensor::from(values, shape);
}

}  // namespace mininn::testing
