// What the threads of a kernel read and write, and whether they may.
//
// Kernels are compiled with -fsanitize=thread: g++ makes them call a function for each load and each store. These
// functions are in watch.cpp, and nothing is linked for them: a byte remembers who wrote and read it last, and when.
// A process is ended with a message for
//   races: two threads touch a byte, at least one writes, and nothing orders them. Within a block __syncthreads() does,
//     and an arrival at a barrier in shared memory for those who wait for its phase, within a warp __syncwarp(), too;
//     between blocks of a launch nothing does. (What else the threads of a warp do together orders no memory.) Atomics
//     race with everything but each other.
//   touching what an asynchronous copy writes, before its thread has waited for it (others: and passed a barrier), or
//     what a bulk copy writes before the phase of its barrier was waited for
//   writing what a matrix product of a warpgroup reads, and touching its sums, before its warp has waited for it
//   products and bulk copies of what a thread has written without a fence_async_proxy() behind it; products whose sums
//     were touched without a fence_products() behind it
//   reading shared memory that no thread of the block has written
//   touching what is neither memory of the launch's device nor shared, nor the stack of the thread
// Not seen are what blocks of a launch behind the first 16 do, what the host's code computes for kernels, and what is
// not inlined of functions that it has, too. Taken for a race is writing what others have read of global memory where
// only a barrier in shared memory orders the two.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>

namespace emulate {

// Ends the process with a message that names the thread that runs.
[[noreturn]] void fail(const char* what);

// All memory of the stream's device.
std::span<std::byte> memory_of(cudaStream_t stream);

}  // namespace emulate

namespace emulate::watch {

// A kernel starts on the device with this memory; a block of it; its threads have met; those of a warp have.
void start_launch(std::span<const std::byte> memory);
void start_block();
void barrier();
void warp_barrier(int warp);
// From now on it is this thread of the block that runs, on this stack.
void go_on(int thread, const void* stack, size_t bytes);

// Kernels are watched between the two, code of the emulator is not.
void enter_kernel();
void leave_kernel();
struct Outside {
  Outside() { leave_kernel(); }
  ~Outside() { enter_kernel(); }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;
};

// What kernels do by calls of the emulator.
void read(const void* p, size_t bytes);
void write(const void* p, size_t bytes);
void start_copy(const void* to, size_t bytes);
void finish_copy(const void* to, size_t bytes);

// Barriers in shared memory have numbers from 0 to kBarriers - 1. A block that makes one has clocks: for each of its
// threads, up to when it knows of the others.
inline constexpr int kBarriers = 64;
void start_clocks(int threads);
void release(int barrier);             // what this thread knows, to the phase that is now
void end_phase(int barrier);           // what came to it is what acquire() gives
void acquire(int barrier);             // to this thread
void use(const void* barrier);         // by this thread
void use_beside(const void* barrier);  // by a copy

// Copies and products beside the threads.
void fence_async_proxy();
void start_bulk_copy(const void* to, size_t bytes);
void finish_bulk_copy(const void* to, size_t bytes, int barrier);
// 16 bytes, by a product of this warp; of that one.
void start_product_read(const void* p);
void finish_product_read(const void* p, int warp);
// The sums of this thread; of that one.
void fence_sums(const void* sums, size_t bytes);
void start_sums(const void* sums);
void finish_sums(const void* sums, int thread);

}  // namespace emulate::watch
