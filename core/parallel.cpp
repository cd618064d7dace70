#include "core/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "core/error.h"

namespace mininn {
namespace {

int initial_threads() {
  if (const char* text = std::getenv("MININN_NUM_THREADS")) {
    int n = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), n);
    if (error != std::errc() || *end || n < 1 || n > 1024)
      throw ValueError(message("MININN_NUM_THREADS='", text, "' is not a number from 1 to 1024"));
    return n;
  }
  return omp_get_num_procs();
}

std::atomic<int>& threads() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

// The threads of a region.
class Team {
 public:
  // Until all `size` threads have come. Returns false if one never will, because it has left with an exception.
  bool barrier(int size) {
    const unsigned now = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(now + 1, std::memory_order_release);
      return !failed();
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == now; ++spins) {
      if (failed()) return false;
      if (spins < kSpins)
        __builtin_ia32_pause();
      else
        std::this_thread::yield();  // more threads than cores
    }
    return !failed();
  }
  void fail(std::exception_ptr e) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(e);
    failed_.store(true, std::memory_order_release);
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // After all threads have left.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  static constexpr int kSpins = 4000;

  std::atomic<int> arrived_{0};
  std::atomic<unsigned> round_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

struct Abandoned {};  // thrown on a team's other threads when one has failed

// What this thread is in a region.
struct Member {
  Team* team = nullptr;
  int index = 0, size = 1;
  bool in_loop = false;
};
thread_local Member member;

void share_out(int64_t n, int64_t grain, detail::RangeFn fn, const void* body) {
  const int64_t chunks = std::min<int64_t>(member.size, (n + grain - 1) / std::max<int64_t>(grain, 1));
  const int64_t i = member.index;
  if (i < chunks) {
    member.in_loop = true;
    try {
      fn(body, n * i / chunks, n * (i + 1) / chunks);
    } catch (...) {
      member.team->fail(std::current_exception());
    }
    member.in_loop = false;
  }
  if (!member.team->barrier(member.size)) throw Abandoned();
}

}  // namespace

int num_threads() {
  const int n = threads().load(std::memory_order_relaxed);
  thread_local int told = 0;  // OpenMP keeps its number per host thread
  if (told != n && !omp_in_parallel()) {
    omp_set_num_threads(n);
    told = n;
  }
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > 1024) throw ValueError(message("the number of threads must be 1 to 1024, not ", n));
  threads().store(n, std::memory_order_relaxed);
  num_threads();
}

void detail::parallel_for(int64_t n, int64_t grain, RangeFn fn, const void* body) {
  if (n <= 0) return;
  if (member.team && !member.in_loop) return share_out(n, grain, fn, body);
  const int64_t chunks = std::min<int64_t>(num_threads(), (n + grain - 1) / std::max<int64_t>(grain, 1));
  if (chunks <= 1 || omp_in_parallel()) return fn(body, 0, n);
  std::exception_ptr failure;
#pragma omp parallel for num_threads(int(chunks)) schedule(static, 1)
  for (int64_t c = 0; c < chunks; ++c) {
    try {
      fn(body, n * c / chunks, n * (c + 1) / chunks);
    } catch (...) {
#pragma omp critical(mininn_parallel_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void detail::parallel_region(RegionFn fn, const void* body) {
  const int threads = num_threads();
  if (threads == 1 || omp_in_parallel()) return fn(body);
  Team team;
#pragma omp parallel num_threads(threads)
  {
    member = {&team, omp_get_thread_num(), omp_get_num_threads(), false};
    try {
      fn(body);
    } catch (const Abandoned&) {
    } catch (...) {
      team.fail(std::current_exception());
    }
    member = {};
  }
  team.rethrow();
}

}  // namespace mininn
