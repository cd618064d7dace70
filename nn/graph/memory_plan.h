// Where the values of a program lie in one block of memory.
#pragma once

#include <cstddef>
#include <cstdint>
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

// What a program keeps in a part of its block, from the first to the last node that needs it, both included.
struct ArenaPiece {
  bool is_value = false;  // the result of node `first`, or a view of it; else what its kernels need on the way
  int64_t offset = 0, bytes = 0;
  size_t first = 0, last = 0;
};

}  // namespace mininn::nn::graph
