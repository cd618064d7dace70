#include "core/plan_cache.h"

#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("the plan cache makes once and drops the least recently used") {
  struct Key {
    int64_t a, b;
  };
  PlanCache<Key, int> cache(2);
  int made = 0;
  const auto make = [&] { return ++made; };
  CHECK(cache.get({1, 1}, make) == 1);
  CHECK(cache.get({2, 2}, make) == 2);
  CHECK(cache.get({1, 1}, make) == 1);
  CHECK(cache.get({3, 3}, make) == 3);  // drops {2,2}
  CHECK(cache.size() == 2);
  CHECK(cache.get({1, 1}, make) == 1);
  CHECK(cache.get({2, 2}, make) == 4);
}
