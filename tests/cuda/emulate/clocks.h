// When threads of a block did something, and who of them knows of it: for watch.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/cuda/emulate/watch.h"

namespace emulate::watch {

// Who did something, and when: a time that goes on with each start and each barrier, the thread's number in its block
// (or kThreads and the number of the barrier at which a bulk copy arrives), and flags. Stamps of an earlier launch mean
// nothing, so nobody clears them.
using Stamp = uint64_t;
inline constexpr int kThreads = 1024;
inline constexpr Stamp kAtomic = 1, kCopying = 2, kSplit = 4;  // of what writes
inline constexpr Stamp kOfWarp = 1, kOfOthers = 2;             // of what reads: more of the warp did, others
inline constexpr Stamp kThread = 8, kWarp = 32 * kThread, kTime = 2 * kThreads * kThread;

inline int who(Stamp s) { return int(s % kTime / kThread); }
inline bool same_thread(Stamp a, Stamp b) { return ((a ^ b) & (kTime - kThread)) == 0; }
inline bool same_warp(Stamp a, Stamp b) { return ((a ^ b) & (kTime - kWarp)) == 0; }

// What barriers in shared memory need beyond the time: each thread has a clock, up to when it knows of each thread and,
// behind them, of the copies that arrive at each barrier.
class Clocks {
 public:
  bool running() const { return !threads_.empty(); }
  size_t threads() const { return threads_.size(); }
  void stop() { threads_.clear(); }
  void start(int threads) {
    threads_.assign(size_t(threads), Clock(size_t(threads) + kBarriers));
    for (auto* const clocks : {&gathering_, &over_}) clocks->assign(kBarriers, threads_[0]);
    fences_.assign(size_t(threads), {});
  }

  bool knows(int thread, Stamp s) const { return s < threads_[size_t(thread)][place(s)]; }
  // Whether a thread knows, by any thread of the warp, that time `s` is over for the warp.
  bool knows_of_warp(int thread, int warp, Stamp s) const {
    const Clock& c = threads_[size_t(thread)];
    const auto begin = c.begin() + 32 * warp, end = c.begin() + std::min(32 * warp + 32, int(threads_.size()));
    return std::any_of(begin, end, [&](Stamp known) { return s < known; });
  }

  // All of them know what any of them knows, and each other up to now.
  void meet(size_t first, size_t count, Stamp now) {
    count = std::min(count, threads_.size() - first);
    Clock all = threads_[first];
    for (size_t i = 1; i < count; ++i) learn(all, threads_[first + i]);
    std::fill_n(all.begin() + ptrdiff_t(first), count, now);
    std::fill_n(threads_.begin() + ptrdiff_t(first), count, all);
  }
  // At a barrier: what the thread knows and did before now goes to the phase that is; the phase ends, which copies that
  // have arrived go with; the thread learns what went to the last that has ended.
  void release(int thread, int barrier, Stamp now) {
    threads_[size_t(thread)][size_t(thread)] = now;
    learn(gathering_[size_t(barrier)], threads_[size_t(thread)]);
  }
  void end_phase(int barrier, Stamp now) {
    Clock& c = gathering_[size_t(barrier)];
    c[threads_.size() + size_t(barrier)] = now;
    over_[size_t(barrier)] = c;
    std::fill(c.begin(), c.end(), 0);
  }
  void acquire(int thread, int barrier) { learn(threads_[size_t(thread)], over_[size_t(barrier)]); }

  void fence(int thread, Stamp now) { fences_[size_t(thread)].push_back(now); }
  // The first fence of the thread that wrote behind that; 0 if there is none.
  Stamp fence_behind(Stamp written) const {
    const auto& all = fences_[size_t(who(written))];
    const auto next = std::upper_bound(all.begin(), all.end(), written);
    return next == all.end() ? 0 : *next;
  }

 private:
  using Clock = std::vector<Stamp>;

  size_t place(Stamp s) const {
    return who(s) < kThreads ? size_t(who(s)) : threads_.size() + size_t(who(s) - kThreads);
  }
  static void learn(Clock& to, const Clock& from) {
    for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
  }

  std::vector<Clock> threads_, gathering_, over_;
  std::vector<std::vector<Stamp>> fences_;
};

}  // namespace emulate::watch
