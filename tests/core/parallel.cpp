#include "core/parallel.h"

#include <atomic>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {
struct ThreadScope {
  int before = num_threads();
  explicit ThreadScope(int n) { set_num_threads(n); }
  ~ThreadScope() { set_num_threads(before); }
};
}  // namespace

TEST_CASE("parallel_for covers each index once") {
  for (const int threads : {1, 2, 3, 7}) {
    const ThreadScope scope(threads);
    for (const int64_t n : {0, 1, 2, 5, 64, 1000}) {
      for (const int64_t grain : {1, 10, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        std::atomic<int> calls{0};
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          ++calls;
          for (int64_t i = begin; i < end; ++i) ++hits[size_t(i)];
        });
        for (const auto& h : hits) REQUIRE(h == 1);
        CHECK(calls <= threads);
        if (n > 0 && n <= grain) CHECK(calls == 1);
      }
    }
  }
}

TEST_CASE("parallel_for inside parallel_for runs inline") {
  const ThreadScope scope(2);
  std::atomic<int> sum{0};
  parallel_for(4, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) parallel_for(10, 1, [&](int64_t b2, int64_t e2) { sum += int(e2 - b2); });
  });
  CHECK(sum == 40);
}

TEST_CASE("an exception in a body reaches the caller") {
  const ThreadScope scope(2);
  CHECK_THROWS_AS(parallel_for(2, 1,
                               [](int64_t b, int64_t) {
                                 if (b == 1) throw std::out_of_range("x");
                               }),
                  std::out_of_range);
}

TEST_CASE("the number of threads is checked") {
  CHECK_THROWS_AS(set_num_threads(0), ValueError);
  CHECK_THROWS_AS(set_num_threads(100000), ValueError);
}

TEST_CASE("a region runs on every thread, and its loops cover each index once, one after the other") {
  for (const int threads : {1, 2, 5}) {
    const ThreadScope scope(threads);
    std::atomic<int> bodies{0}, wrong{0};
    std::vector<int> a(1000, 0), b(1000, 0);
    parallel_region([&] {
      ++bodies;
      for (int round = 1; round <= 50; ++round) {
        parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) a[size_t(i)] += 1;
        });
        // Another split: every element read here was written by some thread before the barrier.
        parallel_for(1000, 300, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) b[size_t(i)] += a[size_t(999 - i)];
        });
        parallel_for(0, 1, [&](int64_t, int64_t) { ++wrong; });
      }
    });
    CHECK(bodies == threads);
    CHECK(wrong == 0);
    for (const int v : b) REQUIRE(v == 50 * 51 / 2);
  }
}

TEST_CASE("loops nested in a region's loop, and regions in loops, run inline") {
  const ThreadScope scope(3);
  std::atomic<int> sum{0};
  parallel_region([&] {
    parallel_for(3, 1, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) parallel_for(10, 1, [&](int64_t b2, int64_t e2) { sum += int(e2 - b2); });
    });
  });
  CHECK(sum == 30);
  parallel_for(3, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) parallel_region([&] { ++sum; });
  });
  CHECK(sum == 33);
}

TEST_CASE("an exception on one thread of a region ends it on all and reaches the caller") {
  const ThreadScope scope(3);
  std::atomic<int> after{0};
  const auto in_a_loop = [&] {
    parallel_for(3, 1, [](int64_t b, int64_t) {
      if (b == 1) throw std::out_of_range("x");
    });
    ++after;
  };
  CHECK_THROWS_AS(parallel_region(in_a_loop), std::out_of_range);
  CHECK(after == 0);
  std::atomic<bool> first{true};
  const auto outside_of_loops = [&] {
    if (first.exchange(false)) throw std::out_of_range("x");
    for (int i = 0; i < 10; ++i) parallel_for(3, 1, [](int64_t, int64_t) {});
  };
  CHECK_THROWS_AS(parallel_region(outside_of_loops), std::out_of_range);
  parallel_for(3, 1, [&](int64_t b, int64_t e) { after += int(e - b); });  // the pool still works
  CHECK(after == 3);
}
