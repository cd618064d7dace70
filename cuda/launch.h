// How kernels are started, and how their threads share the work.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/integers.h"
#include "core/kernel.h"
#include "cuda/backend.h"
#include "cuda/check.h"

namespace mininn::cuda {

#ifdef __CUDACC__
#define MININN_UNROLL _Pragma("unroll")
#define MININN_ROLLED _Pragma("unroll 1")
#else
#define MININN_UNROLL
#define MININN_ROLLED
#endif

// a * b + c in one rounding, which nothing else here is: nvcc is told not to fuse.
template <class T>
__device__ inline T multiply_add(T a, T b, T c) {
#ifdef __CUDACC__
  return fma(a, b, c);
#else
  return a * b + c;  // nearly: the processor's own instruction is not for every target
#endif
}

inline constexpr int kThreads = 256;  // of a block, where nothing speaks for another number

struct Grid {
  dim3 blocks, threads = kThreads;
  int shared = 0;  // bytes of shared memory besides what the kernel declares
};

// A block for each of n items: kernels take number blockIdx.x, and go on by gridDim.x while there are more.
inline dim3 blocks_of(int64_t n) {
  constexpr int64_t most = 0x7fffffff;
  return unsigned(n < most ? n : most);
}
// A thread for each of n items: kernels ask thread_index() for theirs, and go on by thread_count() while there are
// more.
inline Grid grid_of(int64_t n) { return {blocks_of(ceil_div(n, kThreads))}; }
__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return int64_t(gridDim.x) * blockDim.x; }

inline constexpr int kSharedWithoutAsking = 48 << 10;

// A grid without a block, or without a thread, does nothing.
template <class... Params>
void launch(void (*kernel)(Params...), const Grid& grid, const ExecContext& at,
            const std::type_identity_t<Params>&... args) {
  const auto empty = [](const dim3& d) { return d.x == 0 || d.y == 0 || d.z == 0; };
  if (empty(grid.blocks) || empty(grid.threads)) return;
  const cudaStream_t stream = stream_of(at.stream);
  if (grid.shared > kSharedWithoutAsking)
    MININN_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, grid.shared));
#ifdef __CUDACC__
  kernel<<<grid.blocks, grid.threads, size_t(grid.shared), stream>>>(args...);
  check(cudaGetLastError(), "the start of a kernel");
#else
  check(emulate::launch(kernel, grid.blocks, grid.threads, size_t(grid.shared), stream, args...),
        "the start of a kernel");
#endif
}

}  // namespace mininn::cuda
