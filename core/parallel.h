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
}  // namespace detail

// Calls body(begin, end) on disjoint ranges that cover [0, n), split evenly and statically; none is smaller than
// `grain` unless n is. Runs inline inside another parallel_for. An exception in a body is rethrown here.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  detail::parallel_for(
      n, grain, [](const void* b, int64_t begin, int64_t end) { (*static_cast<const Body*>(b))(begin, end); }, &body);
}

}  // namespace mininn
