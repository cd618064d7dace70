#include "core/allocator.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/tensor.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

using namespace mininn;

TEST_CASE("the CPU allocator aligns, reuses and counts") {
  Allocator& a = allocator(Device::cpu());
  a.release_cached();
  const size_t live = a.stats().live_bytes;
  void* p = a.allocate(100'000, {});
  CHECK(reinterpret_cast<uintptr_t>(p) % 64 == 0);
  CHECK(a.stats().live_bytes >= live + 100'000);
  CHECK(a.stats().live_bytes <= live + 125'000);  // at most a quarter is lost to the size class
  a.deallocate(p, 100'000, {});
  CHECK(a.stats().live_bytes == live);
  CHECK(a.stats().cached_bytes >= 100'000);
  CHECK(a.allocate(99'000, {}) == p);  // same size class
  a.deallocate(p, 99'000, {});
  a.release_cached();
  CHECK(a.stats().cached_bytes == 0);
}

TEST_CASE("freed neighbours become one large block, which serves other sizes") {
  constexpr size_t kMiB = size_t{1} << 20;
  Allocator& a = allocator(Device::cpu());
  a.release_cached();
  const size_t live = a.stats().live_bytes;
  std::vector<char*> blocks;
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(static_cast<char*>(a.allocate(3 * kMiB, {})));
    std::memset(blocks.back(), i, 3 * kMiB);
  }
  CHECK(reinterpret_cast<uintptr_t>(blocks[1]) % 64 == 0);
  a.deallocate(blocks[1], 3 * kMiB, {});
  a.deallocate(blocks[2], 3 * kMiB, {});
  REQUIRE(a.allocate(6 * kMiB, {}) == blocks[1]);
  std::memset(blocks[1], 9, 6 * kMiB);
  CHECK(blocks[0][3 * kMiB - 1] == 0);
  CHECK(blocks[3][0] == 3);
  a.deallocate(blocks[1], 6 * kMiB, {});
  REQUIRE(a.allocate(5 * kMiB, {}) == blocks[1]);  // cut again
  a.deallocate(blocks[1], 5 * kMiB, {});
  a.deallocate(blocks[0], 3 * kMiB, {});
  a.deallocate(blocks[3], 3 * kMiB, {});
  CHECK(a.stats().live_bytes == live);
  CHECK(a.stats().cached_bytes >= 12 * kMiB);
  a.release_cached();
  CHECK(a.stats().cached_bytes == 0);
}

TEST_CASE("whatever comes and goes, blocks do not meet, and all memory comes back") {
  Allocator& a = allocator(Device::cpu());
  a.release_cached();
  const size_t live = a.stats().live_bytes;
  struct Piece {
    unsigned char* p;
    size_t bytes;
    unsigned char mark;
  };
  std::vector<Piece> pieces;
  Generator random(1);
  const auto drop = [&](size_t i) {
    const Piece x = pieces[i];
    const bool intact = x.p[0] == x.mark && x.p[x.bytes / 2] == x.mark && x.p[x.bytes - 1] == x.mark;
    a.deallocate(x.p, x.bytes, {});
    pieces[i] = pieces.back();
    pieces.pop_back();
    return intact;
  };
  bool intact = true;
  for (int i = 0; i < 2000; ++i) {
    if (!pieces.empty() && (pieces.size() > 20 || random.below(2) == 0))
      intact &= drop(random.below(uint32_t(pieces.size())));
    const size_t bytes = 1 + (size_t{random.below(1u << 20)} << random.below(4));
    const Piece x{static_cast<unsigned char*>(a.allocate(bytes, {})), bytes, static_cast<unsigned char>(i)};
    x.p[0] = x.p[bytes / 2] = x.p[bytes - 1] = x.mark;
    pieces.push_back(x);
  }
  while (!pieces.empty()) intact &= drop(0);
  CHECK(intact);
  CHECK(a.stats().live_bytes == live);
  a.release_cached();
  CHECK(a.stats().cached_bytes == 0);
}

TEST_CASE("blocks that grow do not leave more behind than was in use") {
  constexpr size_t kMiB = size_t{1} << 20;
  Allocator& a = allocator(Device::cpu());
  a.release_cached();
  for (size_t bytes = 20 * kMiB; bytes <= 400 * kMiB; bytes += 4 * kMiB) a.deallocate(a.allocate(bytes, {}), bytes, {});
  CHECK(a.stats().cached_bytes <= 2 * 400 * kMiB);
  a.release_cached();
}

TEST_CASE("what a step gives back serves the next one: the system is asked for nothing") {
  constexpr size_t kMiB = size_t{1} << 20;
  Allocator& a = allocator(Device::cpu());
  const auto step = [&] {  // forward: all kept; backward: one after the other, with others between
    std::vector<std::pair<void*, size_t>> kept;
    for (const size_t bytes : {8 * kMiB, 8 * kMiB, 4 * kMiB, 4 * kMiB, 2 * kMiB}) {
      void* const between = a.allocate(bytes, {});
      kept.emplace_back(a.allocate(bytes, {}), bytes);
      a.deallocate(between, bytes, {});
    }
    for (; !kept.empty(); kept.pop_back()) {
      void* const gradient = a.allocate(kept.back().second, {});
      a.deallocate(kept.back().first, kept.back().second, {});
      a.deallocate(gradient, kept.back().second, {});
    }
  };
  step();
  const MemoryStats before = a.stats();
  for (int i = 0; i < 5; ++i) step();
  CHECK(a.stats().cached_bytes == before.cached_bytes);
  CHECK(a.stats().peak_bytes == before.peak_bytes);
}

TEST_CASE("blocks of every size hold what was asked for") {
  Allocator& a = allocator(Device::cpu());
  for (size_t bytes = 0; bytes < 5000; bytes += 7) {
    void* p = a.allocate(bytes, {});
    std::memset(p, 0xab, bytes);
    a.deallocate(p, bytes, {});
  }
}

TEST_CASE("tensors give their memory back") {
  const size_t live = allocator(Device::cpu()).stats().live_bytes;
  {
    const Tensor t = Tensor::zeros({100, 100});
    const Tensor view = t.detach();
    CHECK(allocator(Device::cpu()).stats().live_bytes > live);
  }
  CHECK(allocator(Device::cpu()).stats().live_bytes == live);
}

TEST_CASE("the CPU allocator refuses sizes that no memory has") {
  Allocator& a = allocator(Device::cpu());
  CHECK_THROWS_AS(a.allocate(~size_t{0}, {}), ShapeError);
  CHECK_THROWS_AS(a.allocate(size_t{1} << 63, {}), ShapeError);
  CHECK_THROWS_AS(a.allocate(size_t{1} << 62, {}), Error);
}

TEST_CASE("a child process can allocate, whatever other threads did at the fork()") {
  Allocator& a = allocator(Device::cpu());
  const auto round_trip = [&] { a.deallocate(a.allocate(1000, {}), 1000, {}); };
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) round_trip();
  });
  int wrong = 0;
  for (int i = 0; i < 50; ++i) wrong += testing::in_forked_child([&] { return round_trip(), 1; }) != 1;
  done = true;
  busy.join();
  CHECK(wrong == 0);
}

#ifdef __SANITIZE_ADDRESS__
TEST_CASE("AddressSanitizer sees the end of a tensor's bytes, and what is kept for later") {
  Allocator& a = allocator(Device::cpu());
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{300}, size_t{70'001}, size_t{2} << 20}) {
    char* const p = static_cast<char*>(a.allocate(bytes, {}));
    CHECK(__asan_region_is_poisoned(p, bytes) == nullptr);
    CHECK(__asan_address_is_poisoned(p + bytes));
    a.deallocate(p, bytes, {});
    CHECK(__asan_address_is_poisoned(p));
  }
}
#endif
