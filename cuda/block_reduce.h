// Reductions by the threads of a block. The order is that of the threads, so results do not change from run to run.
#pragma once

#include "cuda/launch.h"

namespace mininn::cuda {

// The threads of a block as a matrix of `width` columns, a power of two: column threadIdx.x % width. Combines what the
// threads of each column bring, with the results in the first `width` threads. `shared` has room for kThreads values,
// and is free again when the block has passed its next __syncthreads(). All of a block's kThreads threads call it.
template <class T, class Combine>
__device__ inline T reduce_columns(T* shared, const T& value, unsigned width, const Combine& combine) {
  const unsigned t = threadIdx.x;
  shared[t] = value;
  __syncthreads();
  for (unsigned half = kThreads / 2; half >= width; half /= 2) {
    if (t < half) shared[t] = combine(shared[t], shared[t + half]);
    __syncthreads();
  }
  return shared[t];
}

struct Plus {
  template <class T>
  __device__ T operator()(const T& a, const T& b) const {
    return a + b;
  }
};

// How the items of a long reduction are cut into parts of `each`, so that `columns` reductions of `rows` items keep a
// GPU busy: by the sizes alone.
struct Parts {
  int64_t each, count;

  Parts(int64_t rows, int64_t columns) {
    constexpr int64_t kLeast = 1024, kWanted = 1024;  // items of a part; parts in all
    const int64_t wanted = ceil_div(kWanted, columns > 0 ? columns : 1), most = ceil_div(rows, kLeast);
    count = wanted < most ? wanted : most;
    if (count < 1) count = 1;
    each = ceil_div(rows, count);
  }
};

}  // namespace mininn::cuda
