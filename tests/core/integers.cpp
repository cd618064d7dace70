#include "core/integers.h"

#include <cstddef>
#include <cstdint>
#include <limits>

#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("whole numbers are rounded up, whatever their sign and size") {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  CHECK(ceil_div(7, 4) == 2);
  CHECK(ceil_div(8, 4) == 2);
  CHECK(ceil_div(0, 4) == 0);
  CHECK(ceil_div(-1, 4) == 0);
  CHECK(ceil_div(-5, 4) == -1);
  CHECK(ceil_div(kMost, 2) == kMost / 2 + 1);
  CHECK(ceil_div(kMost, kMost) == 1);
  CHECK(round_up(size_t{0}, 64) == 0);
  CHECK(round_up(size_t{65}, 64) == 128);
}
