// Random operands for property tests: any rank, size and memory layout.
#pragma once

#include "core/random.h"
#include "core/tensor.h"

namespace mininn::testing {

// The seed of property tests: MININN_TEST_SEED, or a fixed one. INFO(...) it.
uint64_t test_seed();

class RandomTensors {
 public:
  explicit RandomTensors(uint64_t seed) : g_(seed) {}

  int64_t between(int64_t low, int64_t high) { return low + int64_t(g_.below(uint64_t(high - low + 1))); }
  bool chance(double p) { return g_.uniform() < p; }
  Generator& generator() { return g_; }

  // Rank 0 to max_rank, sizes 0 (rarely), 1 (often) and up to max_size.
  Shape shape(int max_rank = 4, int64_t max_size = 6);
  // A shape that broadcasts to `to`: some leading dimensions missing, some sizes 1.
  Shape broadcastable(const Shape& to);
  // Normal numbers (integers: -9..9, or 0..9 unsigned), in a random layout: any order of dimensions (channels-last
  // among them), with gaps between elements and an offset, or expanded along dimensions.
  Tensor tensor(const Shape& shape, DType dtype = DType::f32);
  // Contiguous, with numbers whose magnitude is in [low, high), of either sign.
  Tensor away_from_zero(const Shape& shape, double low, double high, bool positive = false);

 private:
  Generator g_;
};

}  // namespace mininn::testing
