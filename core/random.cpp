#include "core/random.h"

#include <atomic>
#include <cmath>
#include <mutex>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/shape.h"

namespace mininn {

uint32_t Generator::next_u32() {
  if (const uint64_t block = position_ / 4; block != block_index_) {
    block_ = philox(stream_, block, seed_);
    block_index_ = block;
  }
  return block_[position_++ % 4];
}

uint64_t Generator::below(uint64_t n) {
  if (n == 0) throw ValueError("Generator::below: there is no number below 0");
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % n;  // a multiple of n: the tail above it is rejected
  for (;;) {
    const uint64_t hi = next_u32(), r = hi << 32 | next_u32();
    if (r < limit) return r % n;
  }
}

double Generator::uniform() {
  const uint64_t hi = next_u32(), r = hi << 32 | next_u32();
  return double(r >> 11) * 0x1p-53;
}

double Generator::normal() {
  const double u = 1.0 - uniform();  // (0, 1]: the logarithm is finite
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<int64_t> permutation(int64_t n, Generator& g) {
  if (n < 0) throw ValueError(message("permutation: ", n, " is no number of elements"));
  std::vector<int64_t> p = host_vector<int64_t>(n);
  std::iota(p.begin(), p.end(), int64_t{0});
  for (size_t i = p.size(); i > 1; --i) std::swap(p[i - 1], p[g.below(i)]);
  return p;
}

namespace {

// What manual_seed() says to all threads.
struct Seeding {
  std::mutex mutex;
  uint64_t seed = 0, next_stream = 0;
  std::atomic<uint64_t> count{1};  // of seedings: how a thread notices one
};

Seeding& seeding() {
  static auto* s = new Seeding;  // never destroyed: other threads may outlive the statics
  return *s;
}

struct ThreadGenerator {
  Generator generator;
  uint64_t seeded = 0;  // the count it was seeded at

  // With the lock held.
  void seed(Seeding& s) {
    generator = Generator(s.seed, s.next_stream++);
    seeded = s.count.load(std::memory_order_relaxed);
  }
};
thread_local ThreadGenerator mine;

}  // namespace

Generator& default_generator() {
  Seeding& s = seeding();
  if (mine.seeded != s.count.load(std::memory_order_acquire)) {
    const std::lock_guard lock(s.mutex);
    mine.seed(s);
  }
  return mine.generator;
}

void manual_seed(uint64_t seed) {
  Seeding& s = seeding();
  const std::lock_guard lock(s.mutex);
  s.seed = seed;
  s.next_stream = 0;
  s.count.fetch_add(1, std::memory_order_release);
  mine.seed(s);
}

}  // namespace mininn
