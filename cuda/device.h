// Instructions that C++ has no word for: with device_sm90.h the only file with inline PTX, one wrapper for each. On the
// emulator the same names are calls (tests/cuda/emulate/cuda_runtime.h).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace mininn::cuda {

// Copies 16 or 4 bytes from global to shared memory while the thread goes on; both addresses are multiples of that.
template <int kBytes>
__device__ inline void copy_async(void* shared, const void* global) {
  static_assert(kBytes == 16 || kBytes == 4);
#ifdef __CUDACC__
  const auto to = uint32_t(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(global) : "memory");
#else
  emulate::copy_async(shared, global, kBytes);
#endif
}

// The thread's copies since the last call are one group.
__device__ inline void close_copy_group() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulate::close_copy_group();
#endif
}

// Returns when all of the thread's groups but the latest kLeft have arrived. Other threads see them behind the next
// __syncthreads().
template <int kLeft>
__device__ inline void wait_for_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#else
  emulate::wait_for_copies(kLeft);
#endif
}

// Four matrices of 8 rows of 16 bytes of shared memory: lane 8 i + r of the warp brings the address of row r of matrix
// i, a multiple of 16, and lane l gets bytes 4 (l % 4) to 4 (l % 4) + 3 of row l / 4 of matrix i in to[i].
__device__ inline void load_matrices(uint32_t (&to)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emulate::load_matrices(to, row);
#endif
}

// The same, but lane l gets elements l / 4 of rows 2 (l % 4) and 2 (l % 4) + 1 of matrix i, rows of 16-bit elements: of
// the transposed matrix what load_matrices() gives of the matrix.
__device__ inline void load_transposed(uint32_t (&to)[4], const void* row) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#else
  emulate::load_transposed(to, row);
#endif
}

// d += a b, for u8 a [16, 32] and s8 b [32, 8], exactly but modulo 2^32. With g = lane / 4, t = lane % 4 the lane has
//   of a   rows g and g + 8 of columns 4 t .. 4 t + 3 in a[0] and a[1], of columns 16 + 4 t .. in a[2] and a[3]
//   of b   rows 4 t .. 4 t + 3 of column g in b0, rows 16 + 4 t .. in b1
//   of d   columns 2 t and 2 t + 1 of row g in d[0] and d[1], of row g + 8 in d[2] and d[3]
__device__ inline void multiply_u8_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulate::multiply_u8_s8(d, a, b0, b1);
#endif
}

// The same for bf16 a [16, 16] and b [16, 8] and float d: each four bytes are two elements of k. The products are
// exact; how their sum rounds is not said.
__device__ inline void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulate::multiply_bf16(d, a, b0, b1);
#endif
}

}  // namespace mininn::cuda
