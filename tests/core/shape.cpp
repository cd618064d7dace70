#include "core/shape.h"

#include <limits>

#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("numel multiplies, refuses negative sizes and overflow") {
  CHECK(numel({}) == 1);
  CHECK(numel({2, 3, 4}) == 24);
  CHECK(numel({5, 0, 7}) == 0);
  CHECK_THROWS_AS(numel({2, -1}), ShapeError);
  CHECK_THROWS_AS(numel({int64_t{1} << 40, int64_t{1} << 40}), ShapeError);
}

TEST_CASE("a seventh dimension is refused") { CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5, 6, 7}), ShapeError); }

TEST_CASE("strides of the two memory orders") {
  CHECK(contiguous_strides({2, 3, 4}) == Strides{12, 4, 1});
  CHECK(channels_last_strides({2, 3, 4, 5}) == Strides{60, 1, 15, 3});
  CHECK_THROWS_AS(channels_last_strides({2, 3, 4}), ShapeError);
  CHECK(is_contiguous({2, 3}, {3, 1}));
  CHECK_FALSE(is_contiguous({2, 3}, {1, 2}));
  // Strides of dimensions of size 1 say nothing.
  CHECK(is_contiguous({2, 1, 1, 3}, {3, 77, 5, 1}));
  CHECK(is_channels_last({2, 8, 1, 1}, {8, 1, 8, 8}));
  CHECK(is_contiguous({2, 8, 1, 1}, {8, 1, 8, 8}));
}

TEST_CASE("shapes broadcast by NumPy's rule") {
  CHECK(broadcast_shapes("add", {4, 1, 3}, {5, 1}) == Shape{4, 5, 3});
  CHECK(broadcast_shapes("add", {}, {2}) == Shape{2});
  CHECK(broadcast_shapes("add", {1}, {0}) == Shape{0});
  CHECK_THROWS_WITH(broadcast_shapes("add", {2, 3}, {2, 4}),
                    Catch::Contains("add") && Catch::Contains("[2,3]") && Catch::Contains("[2,4]"));
}

TEST_CASE("negative dimensions count from the end") {
  CHECK(normalize_dim("sum", -1, 3) == 2);
  CHECK_THROWS_AS(normalize_dim("sum", 3, 3), ShapeError);
  CHECK_THROWS_AS(normalize_dim("sum", -4, 3), ShapeError);
}

TEST_CASE("sizes whose product overflows are refused, whether or not one of them is 0") {
  constexpr int64_t big = int64_t{1} << 40;
  for (const Shape& s : {Shape{0, big, big}, Shape{big, big, 0}, Shape{big, 0, big}, Shape{1, 0, big, big}})
    CHECK_THROWS_AS(numel(s), ShapeError);
  CHECK(numel({0, big}) == 0);
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  CHECK(checked_add("test", most, 0) == most);
  CHECK_THROWS_AS(checked_add("test", most, 1), ShapeError);
  CHECK_THROWS_WITH(checked_mul("test", big, big), Catch::Contains("test") && Catch::Contains("1099511627776"));
}

TEST_CASE("layouts with two indices for one element are known") {
  CHECK_FALSE(may_overlap_itself({2, 3}, {3, 1}));
  CHECK_FALSE(may_overlap_itself({2, 3}, {1, 2}));
  CHECK_FALSE(may_overlap_itself({2, 3}, {-10, 3}));
  CHECK_FALSE(may_overlap_itself({2, 1}, {1, 0}));
  CHECK_FALSE(may_overlap_itself({0, 3}, {0, 0}));
  CHECK_FALSE(may_overlap_itself({}, {}));
  CHECK(may_overlap_itself({2, 3}, {0, 1}));
  CHECK(may_overlap_itself({2, 2}, {1, 1}));
  CHECK(may_overlap_itself({3, 4}, {3, 1}));
}

TEST_CASE("a vector that cannot be is refused with the library's own errors") {
  CHECK(host_vector<double>(2) == std::vector<double>{0, 0});
  CHECK_THROWS_AS(host_vector<double>(int64_t{1} << 62), ShapeError);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they end the process where new would throw
  CHECK_THROWS_AS(host_vector<double>(int64_t{1} << 59), Error);
#endif
}
