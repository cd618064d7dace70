#include "core/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "core/integers.h"

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
  const int limit = std::getenv("OMP_NUM_THREADS") ? 1024 : std::min(1024, detail::cgroup_processors("/"));
  return std::clamp(omp_get_max_threads(), 1, limit);
}

std::atomic<int>& threads() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

// The threads of a region. Its own atomics order all that they do, so that nothing depends on what OpenMP's pool
// promises (and ThreadSanitizer, which cannot see into that, can check the rest).
class Team {
 public:
  // Before the others enter, and as they do: they see all that the opening thread has written.
  static void open() { opened_.fetch_add(1, std::memory_order_release); }
  static void enter() { opened_.load(std::memory_order_acquire); }
  void leave() { left_.fetch_add(1, std::memory_order_release); }
  // After all have left. Rethrows what one of them threw.
  void close() {
    left_.load(std::memory_order_acquire);
    if (failure_) std::rethrow_exception(failure_);
  }

  // Until all `size` threads have come. Returns false if one never will, because it has left with an exception.
  bool barrier(int size) {
    unsigned now = round_.load(std::memory_order_acquire);
    if (now == kFailed) return false;
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < size) {
      wait_while(now, size);
      return round_.load(std::memory_order_acquire) != kFailed;
    }
    arrived_.store(0, std::memory_order_relaxed);
    if (!round_.compare_exchange_strong(now, now + 1, std::memory_order_acq_rel)) return false;
    round_.notify_all();
    return true;
  }
  void fail(std::exception_ptr e) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(e);
    round_.store(kFailed, std::memory_order_release);
    round_.notify_all();
  }

 private:
  inline static std::atomic<unsigned> opened_{0};
  static constexpr unsigned kFailed = ~0u;         // as a round: there will be no other
  static constexpr uint64_t kSpin = 100'000;       // ticks of the time stamp counter, 25 to 50 microseconds
  static constexpr uint64_t kYield = 250'000'000;  // 50 to 125 milliseconds

  // Spins, since the others are about to come. If they are not, other programs run in their place: it yields, which
  // keeps its turn, for as long as such a program may take, and only then sleeps. Where not all threads have a
  // processor they must make room for each other at once.
  void wait_while(unsigned now, int size) const {
    static const int processors = omp_get_num_procs();
    const auto waiting = [&] { return round_.load(std::memory_order_acquire) == now; };
    const uint64_t begin = __builtin_ia32_rdtsc();
    while (size <= processors && waiting()) {
      const uint64_t waited = __builtin_ia32_rdtsc() - begin;
      if (waited > kYield) break;
      if (waited < kSpin)
        __builtin_ia32_pause();
      else
        std::this_thread::yield();
    }
    round_.wait(now, std::memory_order_acquire);
  }

  std::atomic<int> arrived_{0}, left_{0};
  std::atomic<unsigned> round_{0};
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

// fork() copies one thread. If it had used the pool, OpenMP believes that the pool's threads are there, and would wait
// for them.
thread_local bool used_pool = false, lost_pool = false;
void after_fork_in_child() { lost_pool = used_pool; }

void share_out(int64_t n, int64_t grain, detail::RangeFn fn, const void* body) {
  const int64_t chunks = std::min<int64_t>(member.size, ceil_div(n, std::max<int64_t>(grain, 1)));
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

void work(Team& team, int index, int size, detail::RegionFn fn, const void* body) {
  Team::enter();
  member = {&team, index, size, false};
  try {
    fn(body);
  } catch (const Abandoned&) {
  } catch (...) {
    team.fail(std::current_exception());
  }
  member = {};
  team.leave();
}

// Not for ThreadSanitizer: how OpenMP hands the operands over is its own business.
[[gnu::no_sanitize("thread")]] void on_all_threads(Team& team, int threads, detail::RegionFn fn, const void* body) {
#pragma omp parallel num_threads(threads)
  work(team, omp_get_thread_num(), omp_get_num_threads(), fn, body);
}

void run_team(int threads, detail::RegionFn fn, const void* body) {
  static const int registered = pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)registered;
  used_pool = true;
  Team team;
  Team::open();
  on_all_threads(team, threads, fn, body);
  team.close();
}

// Threads of a team that this one may open: it opens none inside of another.
int team_size() { return member.team ? 1 : num_threads(); }

// The first number in a file, or -1: "max" too.
int64_t number_in(const std::filesystem::path& file, size_t word = 0) {
  const std::string text = read_file(file);
  const char *at = text.data(), *const end = at + text.size();
  for (; word > 0; --word) at = std::find(at, end, ' '), at += at != end;
  int64_t n = -1;
  std::from_chars(at, end, n);
  return n;
}

}  // namespace

int num_threads() {
  if (member.team) return member.size;
  return lost_pool || omp_in_parallel() ? 1 : threads().load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  if (n < 1 || n > 1024) throw ValueError(message("the number of threads must be 1 to 1024, not ", n));
  threads().store(n, std::memory_order_relaxed);
}

OpenMpThreads::OpenMpThreads(int n) : previous_(omp_get_max_threads()) {
  used_pool |= n > 1;
  omp_set_num_threads(n);
}
OpenMpThreads::~OpenMpThreads() { omp_set_num_threads(previous_); }

void detail::parallel_for(int64_t n, int64_t grain, RangeFn fn, const void* body) {
  if (n <= 0) return;
  if (member.team && !member.in_loop) return share_out(n, grain, fn, body);
  const int threads = team_size();
  if (threads == 1 || n <= std::max<int64_t>(grain, 1)) return fn(body, 0, n);
  const auto loop = [&] { share_out(n, grain, fn, body); };
  run_team(
      threads, [](const void* l) { (*static_cast<decltype(loop)*>(l))(); }, &loop);
}

void detail::parallel_region(RegionFn fn, const void* body) {
  const int threads = team_size();
  if (threads == 1) return fn(body);
  run_team(threads, fn, body);
}

int detail::cgroup_processors(const std::string& root) {
  namespace fs = std::filesystem;
  const fs::path mount = fs::path(root) / "sys/fs/cgroup";
  int64_t least = INT_MAX;
  const auto apply = [&](int64_t quota, int64_t period) {
    if (quota > 0 && period > 0) least = std::min(least, ceil_div(quota, period));
  };
  // A line is "id:controllers:path"; every group on the way to the path may set a limit. In a container the path may be
  // that of the host, of which only the end is mounted here.
  const std::string groups = read_file(fs::path(root) / "proc/self/cgroup");
  for (size_t begin = 0; begin < groups.size();) {
    const std::string_view line = std::string_view(groups).substr(begin, groups.find('\n', begin) - begin);
    begin += line.size() + 1;
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && controllers != "cpu" && controllers != "cpu,cpuacct") continue;
    for (fs::path group = fs::path(line.substr(second + 1)).relative_path();; group = group.parent_path()) {
      if (unified) {
        const fs::path limit = mount / group / "cpu.max";
        apply(number_in(limit), number_in(limit, 1));
      } else {
        const fs::path folder = mount / "cpu" / group;
        apply(number_in(folder / "cpu.cfs_quota_us"), number_in(folder / "cpu.cfs_period_us"));
      }
      if (group.empty()) break;
    }
  }
  return int(least);
}

}  // namespace mininn
