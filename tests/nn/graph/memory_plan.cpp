#include "nn/graph/memory_plan.h"

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;

TEST_CASE("pieces that are needed at the same time lie apart, others share") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  Generator random(seed);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> pieces(random.below(12));
    for (Lifetime& p : pieces) {
      p = {size_t(random.below(5) * random.below(200)), size_t(random.below(8)), 0};
      p.last = p.first + size_t(random.below(4));
    }
    const MemoryPlan plan = plan_memory(pieces);
    REQUIRE(plan.offset.size() == pieces.size());
    for (size_t i = 0; i < pieces.size(); ++i) {
      CHECK(plan.offset[i] % 64 == 0);
      CHECK(plan.offset[i] + pieces[i].bytes <= plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool meet = pieces[i].first <= pieces[j].last && pieces[j].first <= pieces[i].last;
        const bool apart =
            plan.offset[i] + pieces[i].bytes <= plan.offset[j] || plan.offset[j] + pieces[j].bytes <= plan.offset[i];
        CHECK((apart || !meet));
      }
    }
  }
  // A chain needs its two largest neighbours.
  const std::vector<Lifetime> chain{{640, 0, 1}, {128, 1, 2}, {640, 2, 3}, {64, 3, 4}};
  CHECK(plan_memory(chain).bytes == 640 + 128);
  CHECK(plan_memory({}).bytes == 0);
}
