// One thread pool for everything: OpenMP's, which oneDNN shares.
#pragma once

#include <cstdint>
#include <string>

namespace mininn {

// Threads that kernels use, the calling one included. At first MININN_NUM_THREADS (ValueError unless it is a number
// from 1 to 1024), else OMP_NUM_THREADS, else the processors that this process may use: those of its affinity, and no
// more than its cgroup grants time for. Inside of a loop or region below, the threads that share it, whatever has been
// set since it began; inside of the host's own OpenMP region 1. In a child process made by fork(), a thread that had
// used the pool works alone: 1.
int num_threads();
// For all host threads. Throws ValueError unless 1 <= n <= 1024. More than there are processors is allowed, and slow.
void set_num_threads(int n);

// While it lives, OpenMP's pool has `n` threads for whoever asks it in this host thread (a vendor library); then again
// as many as the host wants. The loops and regions below do not need it.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int n);
  ~OpenMpThreads();
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  int previous_;
};

namespace detail {
using RangeFn = void (*)(const void* body, int64_t begin, int64_t end);
void parallel_for(int64_t n, int64_t grain, RangeFn fn, const void* body);
using RegionFn = void (*)(const void* body);
void parallel_region(RegionFn fn, const void* body);
// The processors' worth of time that the cgroups of this process grant it (cpu.max, or cpu.cfs_quota_us of version 1),
// rounded up; INT_MAX where there is no limit. `root` is where /proc and /sys lie.
int cgroup_processors(const std::string& root);
}  // namespace detail

// Calls body(begin, end) on disjoint ranges that cover [0, n), split evenly and statically; none is smaller than
// `grain` unless n is. Runs inline inside another parallel_for. An exception in a body is rethrown here.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  detail::parallel_for(
      n, grain, [](const void* b, int64_t begin, int64_t end) { (*static_cast<const Body*>(b))(begin, end); }, &body);
}

// Calls body() on every thread of the pool at once. Each parallel_for() that it makes is shared out among them and ends
// in a barrier that spins, then yields, then sleeps: many short loops cost the start of one region. All threads must
// make the same calls, so a body may write to shared memory inside of parallel_for() only. Inside a region or a
// parallel_for, body() runs as it is. An exception on one thread ends the region on all and is rethrown here.
template <class Body>
void parallel_region(const Body& body) {
  detail::parallel_region([](const void* b) { (*static_cast<const Body*>(b))(); }, &body);
}

}  // namespace mininn
