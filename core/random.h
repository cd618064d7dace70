// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): any element can be drawn alone, in any order, on
// any device, from (seed, stream, index).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace mininn {

// Four 32-bit words for a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> philox(uint64_t counter_hi, uint64_t counter_lo, uint64_t key) {
  std::array<uint32_t, 4> c{uint32_t(counter_lo), uint32_t(counter_lo >> 32), uint32_t(counter_hi),
                            uint32_t(counter_hi >> 32)};
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {uint32_t(p1 >> 32) ^ c[1] ^ k0, uint32_t(p1), uint32_t(p0 >> 32) ^ c[3] ^ k1, uint32_t(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}
// Word number `position` of the sequence of (seed, stream): what Generator::next_u32() gives there.
constexpr uint32_t random_word(uint64_t seed, uint64_t stream, uint64_t position) {
  const std::array<uint32_t, 4> words = philox(stream, position / 4, seed);
  const uint64_t i = position % 4;  // no index: on a GPU the words would have to go through memory
  return i < 2 ? (i == 0 ? words[0] : words[1]) : (i == 2 ? words[2] : words[3]);
}

// A position in the random sequence of a seed. Its whole state is two numbers, so it can be saved and resumed.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint32_t next_u32();
  // Uniform in [0, n) without modulo bias. Throws ValueError if n is 0.
  uint64_t below(uint64_t n);
  double uniform();  // [0, 1), 53 bits
  double normal();   // mean 0, variance 1 (Box-Muller)

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  uint64_t position() const { return position_; }
  void set_position(uint64_t p) { position_ = p; }

 private:
  uint64_t seed_, stream_, position_ = 0;
  uint64_t block_index_ = ~uint64_t{0};  // which four numbers block_ holds
  std::array<uint32_t, 4> block_{};
};

// A Fisher-Yates permutation of 0..n-1. Throws ValueError if n is negative, Error if there is no memory for it.
std::vector<int64_t> permutation(int64_t n, Generator& g);

// The generator of ops that draw (dropout, randn) when none is passed. Each thread has its own, and no two draw the
// same numbers: all have the seed of the last manual_seed() (0 before the first), and streams of their own. The thread
// that called it has stream 0, the others 1, 2, ... in the order in which they first draw after it; before the first
// call that order begins at 0. So what one thread draws can be reproduced, and what several draw if they begin in one
// order.
Generator& default_generator();
// Starts every thread's generator anew: this thread's now, another's when it next calls default_generator().
void manual_seed(uint64_t seed);

}  // namespace mininn
