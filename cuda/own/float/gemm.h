// c(m, n) = sum over k of a(m, k) b(k, n), for operands that are computed from their coordinates: matrix products, and
// convolutions as matrix products whose left side is never written down (implicit GEMM; Chetlur et al. 2014, "cuDNN").
//
// A block makes a tile of 64 x 64 outputs, a thread 4 x 4 of them, in steps of 16 along k through shared memory, and
// then the next tile that is left for it. Every 1024 terms a sum goes into a second one: the rounding errors of a long
// sum stay small.
#pragma once

#include "cuda/launch.h"

namespace mininn::cuda::own {

inline constexpr int kTile = 64, kDepth = 16, kPerThread = 4, kTerms = 1024;
static_assert(kTile / kPerThread * (kTile / kPerThread) == kThreads);

// A Problem has
//   using Acc;  int64_t m, n, k;
//   Acc a(batch, m, k), b(batch, k, n)     called inside of the sizes only
//   void store(batch, m, n, Acc sum)       the same
template <class Problem>
__device__ inline void make_tile(const Problem& p, int64_t batch, int64_t m0, int64_t n0) {
  using Acc = typename Problem::Acc;
  __shared__ Acc a[kDepth][kTile + 1], b[kDepth][kTile + 1];  // a column more: no two threads meet in a bank
  const int t = int(threadIdx.x), row = t / (kTile / kPerThread), column = t % (kTile / kPerThread);
  Acc sums[kPerThread][kPerThread] = {}, totals[kPerThread][kPerThread] = {};
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    MININN_ROLLED for (int e = t; e < kTile * kDepth; e += kThreads) {
      const int k = e % kDepth, i = e / kDepth;
      a[k][i] = m0 + i < p.m && k0 + k < p.k ? p.a(batch, m0 + i, k0 + k) : Acc(0);
    }
    MININN_ROLLED for (int e = t; e < kTile * kDepth; e += kThreads) {
      const int k = e / kTile, i = e % kTile;
      b[k][i] = n0 + i < p.n && k0 + k < p.k ? p.b(batch, k0 + k, n0 + i) : Acc(0);
    }
    __syncthreads();
    for (int k = 0; k < kDepth; ++k) {
      Acc left[kPerThread], right[kPerThread];
      MININN_UNROLL for (int i = 0; i < kPerThread; ++i) {
        left[i] = a[k][row + i * (kTile / kPerThread)];
        right[i] = b[k][column + i * (kTile / kPerThread)];
      }
      MININN_UNROLL for (int i = 0; i < kPerThread; ++i) MININN_UNROLL for (int j = 0; j < kPerThread; ++j) sums[i][j] =
          multiply_add(left[i], right[j], sums[i][j]);
    }
    __syncthreads();
    if ((k0 + kDepth) % kTerms != 0 && k0 + kDepth < p.k) continue;
    MININN_UNROLL for (int i = 0; i < kPerThread; ++i) MININN_UNROLL for (int j = 0; j < kPerThread; ++j) {
      totals[i][j] += sums[i][j];
      sums[i][j] = Acc(0);
    }
  }
  MININN_UNROLL for (int i = 0; i < kPerThread; ++i) MININN_UNROLL for (int j = 0; j < kPerThread; ++j) {
    const int64_t m = m0 + row + i * (kTile / kPerThread), n = n0 + column + j * (kTile / kPerThread);
    if (m < p.m && n < p.n) p.store(batch, m, n, totals[i][j]);
  }
}

// Tiles beside each other share rows of the left side, which are costly to compute.
template <class Problem>
__global__ void __launch_bounds__(kThreads)
    gemm_kernel(const __grid_constant__ Problem p, int64_t rows, int64_t columns, int64_t batch) {
  for (int64_t tile = blockIdx.x; tile < rows * columns * batch; tile += gridDim.x)
    make_tile(p, tile / (rows * columns), tile / columns % rows * kTile, tile % columns * kTile);
}

template <class Problem>
void gemm(const Problem& p, int64_t batch, const ExecContext& at) {
  const int64_t rows = ceil_div(p.m, int64_t(kTile)), columns = ceil_div(p.n, int64_t(kTile));
  launch(gemm_kernel<Problem>, {blocks_of(rows * columns * batch)}, at, p, rows, columns, batch);
}

}  // namespace mininn::cuda::own
