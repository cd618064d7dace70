#include "nn/graph/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "core/integers.h"

namespace mininn::nn::graph {

MemoryPlan plan_memory(std::span<const Lifetime> pieces) {
  constexpr size_t kAlign = 64;
  std::vector<size_t> order(pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return pieces[a].bytes > pieces[b].bytes; });
  MemoryPlan plan;
  plan.offset.resize(pieces.size(), 0);
  std::vector<size_t> placed;  // ascending by offset
  for (const size_t i : order) {
    const Lifetime& piece = pieces[i];
    const size_t size = round_up(piece.bytes, kAlign);
    size_t at = 0;
    for (const size_t j : placed) {
      const Lifetime& other = pieces[j];
      if (other.last < piece.first || piece.last < other.first) continue;
      if (plan.offset[j] >= at + size) break;
      at = std::max(at, plan.offset[j] + round_up(other.bytes, kAlign));
    }
    plan.offset[i] = at;
    plan.bytes = std::max(plan.bytes, at + size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](size_t a, size_t b) { return plan.offset[a] < plan.offset[b]; }),
                  i);
  }
  return plan;
}

}  // namespace mininn::nn::graph
