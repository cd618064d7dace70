// One thread pool for everything: OpenMP's, which oneDNN shares.
#pragma once

#include <cstdint>
#include <type_traits>

namespace mininn {

// Threads that kernels use, the calling one included; at first MININN_NUM_THREADS, else the number of cores. Calling it
// also tells OpenMP's pool in this host thread, so a vendor library that asks OpenMP sees the same number.
int num_threads();
// Throws ValueError unless 1 <= n <= 1024.
void set_num_threads(int n);

namespace detail {
using RangeFn = void (*)(const void* body, int64_t begin, int64_t end);
void parallel_for(int64_t n, int64_t grain, RangeFn fn, const void* body);
using RegionFn = void (*)(const void* body);
void parallel_region(RegionFn fn, const void* body);
}  // namespace detail

// Calls body(begin, end) on disjoint ranges that cover [0, n), split evenly and statically; none is smaller than
// `grain` unless n is. Runs inline inside another parallel_for. An exception in a body is rethrown here.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  detail::parallel_for(
      n, grain, [](const void* b, int64_t begin, int64_t end) { (*static_cast<const Body*>(b))(begin, end); }, &body);
}

// Calls body() on every thread of the pool at once. Each parallel_for() that it makes is shared out among them and ends
// in a barrier that spins: many short loops cost the start of one region. All threads must make the same calls, so a
// body may write to shared memory inside of parallel_for() only. Inside a region or a parallel_for, body() runs as it
// is. An exception on one thread ends the region on all and is rethrown here.
template <class Body>
void parallel_region(const Body& body) {
  detail::parallel_region([](const void* b) { (*static_cast<const Body*>(b))(); }, &body);
}

}  // namespace mininn
