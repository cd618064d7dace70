// What the threads of a kernel read and write, and whether they may.
//
// Kernels are compiled with -fsanitize=thread: g++ makes them call a function for each load and each store. These
// functions are in watch.cpp, and nothing is linked for them: a byte remembers who wrote and read it last, and when.
// A process is ended with a message for
//   races: two threads touch a byte, at least one writes, and nothing orders them. Within a block __syncthreads() does,
//     within a warp __syncwarp(), too; between blocks of a launch nothing does. (What else the threads of a warp do
//     together orders no memory.) Atomics race with everything but each other.
//   touching what an asynchronous copy writes, before its thread has waited for it (others: and passed a barrier)
//   reading shared memory that no thread of the block has written
//   touching what is neither memory of the launch's device nor shared, nor the stack of the thread
// Not seen are what blocks of a launch behind the first 16 do, what the host's code computes for kernels, and what is
// not inlined of functions that it has, too.
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
void start_copy(const void* to, size_t bytes);
void finish_copy(const void* to, size_t bytes);

}  // namespace emulate::watch
