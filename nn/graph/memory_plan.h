// Where the values of a program lie in one block of memory.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace mininn::nn::graph {

// A piece of memory and when it is needed: from call `first` to call `last`, both included.
struct Lifetime {
  size_t bytes = 0;
  size_t first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<size_t> offset;  // of each piece, a multiple of 64
  size_t bytes = 0;            // of the block
};

// Pieces share memory unless they are needed at the same time: largest first, each at the lowest offset that is free
// for as long as it lives (Pisarchyk and Lee 2020, "greedy by size").
MemoryPlan plan_memory(std::span<const Lifetime> pieces);

}  // namespace mininn::nn::graph
