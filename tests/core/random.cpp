#include "core/random.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("Philox4x32-10 gives the paper's known answers") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(~0ull, ~0ull, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(0x0370734413198a2e, 0x85a308d3243f6a88, 0x299f31d0a4093822) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a generator resumes from its position") {
  Generator a(42, 7);
  for (int i = 0; i < 13; ++i) a.next_u32();
  Generator b(42, 7);
  b.set_position(a.position());
  for (int i = 0; i < 100; ++i) REQUIRE(a.next_u32() == b.next_u32());
  CHECK(Generator(42, 8).next_u32() != Generator(42, 7).next_u32());
  CHECK(Generator(43, 7).next_u32() != Generator(42, 7).next_u32());
}

TEST_CASE("uniform and normal numbers have their moments") {
  Generator g(1);
  const int n = 200'000;
  double su = 0, sn = 0, sn2 = 0;
  for (int i = 0; i < n; ++i) {
    const double u = g.uniform(), z = g.normal();
    REQUIRE((u >= 0 && u < 1));
    su += u;
    sn += z;
    sn2 += z * z;
  }
  CHECK(std::abs(su / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(sn / n) < 5 / std::sqrt(double(n)));
  CHECK(std::abs(sn2 / n - 1) < 5 * std::sqrt(2.0 / n));
}

TEST_CASE("below is in range and even") {
  Generator g(2);
  std::array<int, 3> count{};
  for (int i = 0; i < 30'000; ++i) ++count[g.below(3)];
  for (const int c : count) CHECK(std::abs(c - 10'000) < 500);
  CHECK_THROWS_AS(g.below(0), ValueError);
}

TEST_CASE("a permutation holds each index once and depends on the seed alone") {
  Generator a(5), b(5), c(6);
  const auto p = permutation(1000, a);
  auto sorted = p;
  std::sort(sorted.begin(), sorted.end());
  for (int64_t i = 0; i < 1000; ++i) REQUIRE(sorted[size_t(i)] == i);
  CHECK(p == permutation(1000, b));
  CHECK(p != permutation(1000, c));
  CHECK(permutation(0, a).empty());
}

TEST_CASE("a permutation of impossible length is refused") {
  Generator g;
  CHECK_THROWS_AS(permutation(-1, g), ValueError);
  CHECK_THROWS_AS(permutation(int64_t{1} << 62, g), Error);
}

TEST_CASE("threads draw different numbers, and manual_seed reaches all of them") {
  manual_seed(11);
  Generator expected(11);
  CHECK(default_generator().next_u32() == expected.next_u32());

  // A thread draws when it is asked to.
  uint32_t drawn = 0;
  std::atomic<int> asked = 0, answered = 0;
  std::thread other([&] {
    for (int i = 1; i <= 3; ++i) {
      while (asked < i) std::this_thread::yield();
      drawn = default_generator().next_u32();
      answered = i;
    }
  });
  const auto ask = [&] {
    const int i = ++asked;
    while (answered < i) std::this_thread::yield();
    return drawn;
  };
  Generator one(11, 1);
  CHECK(ask() == one.next_u32());
  manual_seed(12);
  one = Generator(12, 1);
  CHECK(ask() == one.next_u32());
  CHECK(ask() == one.next_u32());
  other.join();
  CHECK(default_generator().next_u32() == Generator(12).next_u32());

  // One that comes later has a stream of its own, too; whoever seeds has stream 0.
  std::thread([&] { drawn = default_generator().next_u32(); }).join();
  CHECK(drawn == Generator(12, 2).next_u32());
  std::thread([&] {
    manual_seed(13);
    drawn = default_generator().next_u32();
  }).join();
  CHECK(drawn == Generator(13).next_u32());
  CHECK(default_generator().next_u32() == Generator(13, 1).next_u32());
}

TEST_CASE("a generator that was put back goes on from there") {
  manual_seed(5);
  (void)default_generator().next_u32();
  Generator saved(9);
  saved.set_position(40);
  default_generator() = saved;
  CHECK(default_generator().next_u32() == saved.next_u32());
  CHECK(default_generator().seed() == 9);
  CHECK(default_generator().position() == 41);
}
