// The instructions of device.h that sm_90a alone has: barriers in shared memory that count bytes, copies that run
// beside the threads, and matrix products of a warpgroup, four warps whose first is a multiple of four. Copies and
// products reach memory through another proxy than loads and stores do. A kernel made of them has its body behind
// `#ifdef MININN_SM90A`, and is compiled empty for other architectures: who starts it asks for the device's first.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <type_traits>

#include "cuda/device.h"

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MININN_SM90A
#endif

// The shared memory that a launch asks for (Grid::shared).
#ifdef __CUDACC__
#define MININN_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#else
#define MININN_DYNAMIC_SHARED(name) unsigned char* const name = emulate::dynamic_shared()
#endif

namespace mininn::cuda {

// What the instructions call an address in shared memory.
__device__ inline uint32_t shared_address(const void* shared) {
#ifdef __CUDACC__
  return uint32_t(__cvta_generic_to_shared(shared));
#else
  return emulate::shared_address(shared);
#endif
}

// --- barriers -------------------------------------------------------------------------------------------------------

// A barrier goes through phases, number 0 first. One is over when `arrivals` threads have arrived in it and all bytes
// that they said to expect have come. Other threads may use it behind a __syncthreads(), copies behind a
// fence_async_proxy() of this thread as well.
__device__ inline void init_barrier(uint64_t* barrier, unsigned arrivals) {
#ifdef __CUDACC__
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#else
  emulate::init_barrier(barrier, arrivals);
#endif
}

// What the thread did before is seen by those who have waited for the phase.
__device__ inline void arrive(uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#else
  emulate::arrive(barrier, 0);
#endif
}
__device__ inline void arrive_and_expect(uint64_t* barrier, unsigned bytes) {
#ifdef __CUDACC__
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
#else
  emulate::arrive(barrier, bytes);
#endif
}

// Returns when the phase of this parity (0: of an even number) is over that is now or was last. Before number 0 there
// was an odd one.
__device__ inline void wait_for_phase(uint64_t* barrier, uint32_t parity) {
#ifdef __CUDACC__
  uint32_t over = 0;
  do {
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                 : "=r"(over)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
  } while (over == 0);
#else
  emulate::wait_for_phase(barrier, parity);
#endif
}

// What the thread has written to shared memory is seen by copies and products that are started later by whoever knows
// of the fence.
__device__ inline void fence_async_proxy() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  emulate::fence_async_proxy();
#endif
}

// --- copies ---------------------------------------------------------------------------------------------------------

// Copies a multiple of 16 bytes from global to shared memory, both addresses multiples of 16. They arrive at a barrier
// that expects them.
__device__ inline void copy_bulk(void* shared, const void* global, unsigned bytes, uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(global), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
#else
  emulate::copy_bulk(shared, global, bytes, barrier);
#endif
}

// A pixel of a batch of images: its image, row, column, and where in its channels to begin.
struct PixelAt {
  int channel, w, h, n;
};

// Copies kMapPixels pixels, 64 bytes of each, of images that a map describes (cuda/tensor_map.h). The first one is at
// `from` moved by the tap. The others follow by the map's steps, through the window of the map moved likewise: from
// left to right, then its next line, then the next image. Bytes outside of an image or behind its channels are 0. The
// result is a matrix as matrix_of_rows() has it.
__device__ inline void copy_pixels(void* shared, const CUtensorMap& map, const PixelAt& from, uint16_t tap_w,
                                   uint16_t tap_h, uint64_t* barrier) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(shared_address(shared)),
      "l"(&map), "r"(from.channel), "r"(from.w), "r"(from.h), "r"(from.n), "r"(shared_address(barrier)), "h"(tap_w),
      "h"(tap_h)
      : "memory");
#else
  emulate::copy_pixels(shared, map, from.channel, from.w, from.h, from.n, tap_w, tap_h, barrier);
#endif
}

// --- products -------------------------------------------------------------------------------------------------------

// A matrix of rows of 64 bytes in shared memory, from a multiple of 512 bytes on: part i of 16 bytes of row r is in
// place i ^ (r / 2 % 4) of the row. Of its columns those of 32 bytes from `part` on.
__device__ inline uint64_t matrix_of_rows(uint32_t shared, int part) {
  constexpr uint64_t kEightRows = 8 * 64, kSwizzle64 = 2;
  return uint64_t((shared + uint32_t(part) * 16) >> 4 & 0x3fff) | uint64_t(1) << 16 | kEightRows >> 4 << 32 |
         kSwizzle64 << 62;
}

// Sums of a warpgroup are 64 rows of 8 kTiles columns. Of tile j, eight columns, lane l of warp w of the group has
// columns 2 (l % 4) and + 1 of row 16 w + l / 4 in d[j][0] and d[j][1], of the eighth row after it in d[j][2] and
// d[j][3].

#ifdef __CUDACC__
// The sums as operands of inline PTX, and their names there.
#define MININN_SUMS_1(kind, i) kind(d[i][0]), kind(d[i][1]), kind(d[i][2]), kind(d[i][3])
#define MININN_SUMS_4(kind, i) \
  MININN_SUMS_1(kind, i), MININN_SUMS_1(kind, i + 1), MININN_SUMS_1(kind, i + 2), MININN_SUMS_1(kind, i + 3)
#define MININN_SUMS_8(kind) MININN_SUMS_4(kind, 0), MININN_SUMS_4(kind, 4)
#define MININN_SUMS_16(kind) MININN_SUMS_8(kind), MININN_SUMS_4(kind, 8), MININN_SUMS_4(kind, 12)
#define MININN_NAMES_8                                                                                               \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
  "30,%31"
#define MININN_NAMES_16                                                                                               \
  MININN_NAMES_8                                                                                                      \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59," \
  "%60,%61,%62,%63"

// A place in the program at which the sums are ready, and behind which the compiler takes them for others.
template <class Acc, int kTiles>
__device__ inline void hold(Acc (&d)[kTiles][4]) {
  static_assert(kTiles == 8 || kTiles == 16);
  if constexpr (std::is_same_v<Acc, float> && kTiles == 8)
    asm volatile("" : MININN_SUMS_8("+f")::"memory");
  else if constexpr (std::is_same_v<Acc, float>)
    asm volatile("" : MININN_SUMS_16("+f")::"memory");
  else if constexpr (kTiles == 8)
    asm volatile("" : MININN_SUMS_8("+r")::"memory");
  else
    asm volatile("" : MININN_SUMS_16("+r")::"memory");
}
#endif

// Comes before the first product, and wherever the thread has touched sums that it then adds to.
template <class Acc, int kTiles>
__device__ inline void fence_products(Acc (&d)[kTiles][4]) {
#ifdef __CUDACC__
  hold(d);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  emulate::fence_products(d, sizeof d);
#endif
}

// The warp's products since the last call are one group.
__device__ inline void close_product_group() {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  emulate::close_product_group();
#endif
}

// Returns when all of the warp's groups but the latest kLeft are done: then their sums may be touched, and the memory
// that they have read may be written.
template <int kLeft, class Acc, int kTiles>
__device__ inline void wait_for_products(Acc (&d)[kTiles][4]) {
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
  hold(d);
#else
  (void)d;
  emulate::wait_for_products(kLeft);
#endif
}

// d += a b, both as matrix_of_rows(): rows of a, columns of b. For int32_t sums u8 a [64, 32] and s8 b [32, 8 kTiles],
// exactly but modulo 2^32. For float ones bf16 a [64, 16] and b [16, 8 kTiles]: their products are exact, and how the
// sum rounds is not said. All threads of a warpgroup say the same, and go on while it is done.
template <class Acc, int kTiles>
__device__ inline void start_product(Acc (&d)[kTiles][4], uint64_t a, uint64_t b) {
  static_assert(kTiles == 8 || kTiles == 16);
#ifdef __CUDACC__
// Behind the sums' names come those of a and b; `rest`: what an instruction wants to know besides.
#define MININN_WGMMA(instruction, names, operands, rest, sums)                                               \
  asm volatile("{.reg .pred add; setp.eq.b32 add, 0, 0; wgmma.mma_async.sync.aligned." instruction " " names \
               "}, " operands ", add" rest ";}"                                                              \
               : sums                                                                                        \
               : "l"(a), "l"(b))
  if constexpr (std::is_same_v<Acc, float> && kTiles == 8)
    MININN_WGMMA("m64n64k16.f32.bf16.bf16", MININN_NAMES_8, "%32, %33", ", 1, 1, 0, 0", MININN_SUMS_8("+f"));
  else if constexpr (std::is_same_v<Acc, float>)
    MININN_WGMMA("m64n128k16.f32.bf16.bf16", MININN_NAMES_16, "%64, %65", ", 1, 1, 0, 0", MININN_SUMS_16("+f"));
  else if constexpr (kTiles == 8)
    MININN_WGMMA("m64n64k32.s32.u8.s8", MININN_NAMES_8, "%32, %33", "", MININN_SUMS_8("+r"));
  else
    MININN_WGMMA("m64n128k32.s32.u8.s8", MININN_NAMES_16, "%64, %65", "", MININN_SUMS_16("+r"));
#else
  emulate::start_product(d, 8 * kTiles, a, b);
#endif
}

#undef MININN_SUMS_1
#undef MININN_SUMS_4
#undef MININN_SUMS_8
#undef MININN_SUMS_16
#undef MININN_NAMES_8
#undef MININN_NAMES_16
#undef MININN_WGMMA

}  // namespace mininn::cuda
