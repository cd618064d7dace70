#include "core/parallel.h"

#include <omp.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/fork.h"

using namespace mininn;

namespace {
struct ThreadScope {
  int before = num_threads();
  explicit ThreadScope(int n) { set_num_threads(n); }
  ~ThreadScope() { set_num_threads(before); }
};
}  // namespace

TEST_CASE("parallel_for covers each index once") {
  for (const int threads : {1, 2, 3, 7}) {
    const ThreadScope scope(threads);
    for (const int64_t n : {0, 1, 2, 5, 64, 1000}) {
      for (const int64_t grain : {1, 10, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        std::atomic<int> calls{0};
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          ++calls;
          for (int64_t i = begin; i < end; ++i) ++hits[size_t(i)];
        });
        for (const auto& h : hits) REQUIRE(h == 1);
        CHECK(calls <= threads);
        if (n > 0 && n <= grain) CHECK(calls == 1);
      }
    }
  }
}

TEST_CASE("parallel_for inside parallel_for runs inline") {
  const ThreadScope scope(2);
  std::atomic<int> sum{0};
  parallel_for(4, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) parallel_for(10, 1, [&](int64_t b2, int64_t e2) { sum += int(e2 - b2); });
  });
  CHECK(sum == 40);
}

TEST_CASE("an exception in a body reaches the caller") {
  const ThreadScope scope(2);
  CHECK_THROWS_AS(parallel_for(2, 1,
                               [](int64_t b, int64_t) {
                                 if (b == 1) throw std::out_of_range("x");
                               }),
                  std::out_of_range);
}

TEST_CASE("the number of threads is checked") {
  CHECK_THROWS_AS(set_num_threads(0), ValueError);
  CHECK_THROWS_AS(set_num_threads(100000), ValueError);
}

TEST_CASE("a region runs on every thread, and its loops cover each index once, one after the other") {
  for (const int threads : {1, 2, 5}) {
    const ThreadScope scope(threads);
    std::atomic<int> bodies{0}, wrong{0};
    std::vector<int> a(1000, 0), b(1000, 0);
    parallel_region([&] {
      ++bodies;
      for (int round = 1; round <= 50; ++round) {
        parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) a[size_t(i)] += 1;
        });
        // Another split: every element read here was written by some thread before the barrier.
        parallel_for(1000, 300, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) b[size_t(i)] += a[size_t(999 - i)];
        });
        parallel_for(0, 1, [&](int64_t, int64_t) { ++wrong; });
      }
    });
    CHECK(bodies == threads);
    CHECK(wrong == 0);
    for (const int v : b) REQUIRE(v == 50 * 51 / 2);
  }
}

TEST_CASE("loops nested in a region's loop, and regions in loops, run inline") {
  const ThreadScope scope(3);
  std::atomic<int> sum{0};
  parallel_region([&] {
    parallel_for(3, 1, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) parallel_for(10, 1, [&](int64_t b2, int64_t e2) { sum += int(e2 - b2); });
    });
  });
  CHECK(sum == 30);
  parallel_for(3, 1, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) parallel_region([&] { ++sum; });
  });
  CHECK(sum == 33);
}

TEST_CASE("an exception on one thread of a region ends it on all and reaches the caller") {
  const ThreadScope scope(3);
  std::atomic<int> after{0};
  const auto in_a_loop = [&] {
    parallel_for(3, 1, [](int64_t b, int64_t) {
      if (b == 1) throw std::out_of_range("x");
    });
    ++after;
  };
  CHECK_THROWS_AS(parallel_region(in_a_loop), std::out_of_range);
  CHECK(after == 0);
  std::atomic<bool> first{true};
  const auto outside_of_loops = [&] {
    if (first.exchange(false)) throw std::out_of_range("x");
    for (int i = 0; i < 10; ++i) parallel_for(3, 1, [](int64_t, int64_t) {});
  };
  CHECK_THROWS_AS(parallel_region(outside_of_loops), std::out_of_range);
  parallel_for(3, 1, [&](int64_t b, int64_t e) { after += int(e - b); });  // the pool still works
  CHECK(after == 3);
}

TEST_CASE("inside of a region and a loop, the number of threads is the team's, whatever is set meanwhile") {
  const ThreadScope scope(3);
  std::atomic<int> wrong{0};
  parallel_region([&] {
    parallel_for(3, 1, [&](int64_t b, int64_t) {
      if (b == 1) set_num_threads(7);
    });
    wrong += num_threads() != 3;
    parallel_for(100, 1, [&](int64_t, int64_t) { wrong += num_threads() != 3; });
  });
  CHECK(wrong == 0);
  CHECK(num_threads() == 7);
}

TEST_CASE("the host's own number of OpenMP threads stays as it is") {
  const int before = omp_get_max_threads();
  omp_set_num_threads(5);
  {
    const ThreadScope scope(2);
    parallel_for(2, 1, [](int64_t, int64_t) {});
    parallel_region([] {});
    CHECK(num_threads() == 2);
    CHECK(omp_get_max_threads() == 5);
    const OpenMpThreads pool(3);
    CHECK(omp_get_max_threads() == 3);
  }
  CHECK(omp_get_max_threads() == 5);
  omp_set_num_threads(before);
}

#ifndef __SANITIZE_THREAD__  // which does not see how OpenMP hands `seen` over
TEST_CASE("inside of the host's own OpenMP region there is one thread") {
  const ThreadScope scope(2);
  int seen[2] = {1, 1};
#pragma omp parallel num_threads(2)
  {
    seen[omp_get_thread_num()] = num_threads();
    parallel_region([] { parallel_for(10, 1, [](int64_t, int64_t) {}); });
  }
  CHECK(seen[0] == 1);
  CHECK(seen[1] == 1);
}
#endif

TEST_CASE("a thread that waits long for the others sleeps") {
  const ThreadScope scope(2);
  const auto cpu_seconds = [] { return double(std::clock()) / CLOCKS_PER_SEC; };
  const double begin = cpu_seconds();
  parallel_for(2, 1, [](int64_t b, int64_t) {
    if (b == 0) std::this_thread::sleep_for(std::chrono::milliseconds(600));
  });
  CHECK(cpu_seconds() - begin < 0.3);
}

TEST_CASE("more threads than processors wait for each other without spinning") {
  const ThreadScope scope(64);
  std::vector<int> a(1000, 0);
  parallel_region([&] {
    for (int round = 0; round < 20; ++round)
      parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++a[size_t(i)];
      });
  });
  for (const int v : a) REQUIRE(v == 20);
}

TEST_CASE("after fork() a thread that had used the pool works alone, and other threads as before") {
  const ThreadScope scope(2);
  parallel_for(2, 1, [](int64_t, int64_t) {});  // now there is a pool
  const auto loops = [] {
    std::atomic<int64_t> sum{0};
    parallel_for(100, 1, [&](int64_t b, int64_t e) { sum += e - b; });
    parallel_region([&] { parallel_for(100, 1, [&](int64_t b, int64_t e) { sum += e - b; }); });
    return sum == 200;
  };
  CHECK(testing::in_forked_child([&] { return loops() ? 10 + num_threads() : 0; }) == 11);
#ifndef __SANITIZE_THREAD__  // which refuses threads after fork()
  const auto in_another_thread = [&] {
    int result = 0;
    std::thread([&] { result = loops() ? 10 + num_threads() : 0; }).join();
    return result;
  };
  CHECK(testing::in_forked_child(in_another_thread) == 12);
#endif
  CHECK(loops());
}

TEST_CASE("prints the number of threads", "[.][print]") { std::printf("threads=%d\n", num_threads()); }

TEST_CASE("the environment says how many threads there are at first") {
  const auto printed_with = [](const std::string& environment) {
    const std::string program = std::filesystem::read_symlink("/proc/self/exe");
    const std::string command =
        "env -u MININN_NUM_THREADS -u OMP_NUM_THREADS " + environment + " '" + program + "' '[print]' 2>&1";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    std::string text(65536, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), pipe.get()));
    return text;
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    CAPTURE(text);
    CHECK(text.find(part) != text.npos);
  };
  contains(printed_with("OMP_NUM_THREADS=3"), "threads=3\n");
  contains(printed_with("OMP_NUM_THREADS=3 MININN_NUM_THREADS=5"), "threads=5\n");
  const int processors = std::min(omp_get_num_procs(), detail::cgroup_processors("/"));
  contains(printed_with(""), "threads=" + std::to_string(processors) + '\n');
  contains(printed_with("MININN_NUM_THREADS=abc"), "MININN_NUM_THREADS='abc' is not a number from 1 to 1024");
}

TEST_CASE("a cgroup's limit counts, in either version and of every group on the way") {
  const testing::TempFolder root;
  const auto write = [&](const char* name, const std::string& text) {
    std::filesystem::create_directories((root / name).parent_path());
    testing::write_file(root / name, text);
  };
  const auto limit = [&] { return detail::cgroup_processors(root.path); };
  CHECK(limit() == INT_MAX);
  write("proc/self/cgroup", "0::/jobs/one\n");
  CHECK(limit() == INT_MAX);
  write("sys/fs/cgroup/jobs/one/cpu.max", "max 100000\n");
  CHECK(limit() == INT_MAX);
  write("sys/fs/cgroup/jobs/cpu.max", "250000 100000\n");
  CHECK(limit() == 3);
  write("sys/fs/cgroup/cpu.max", "150000 100000\n");  // the root of a container, which sees the host's path
  CHECK(limit() == 2);
  write("proc/self/cgroup", "3:memory:/jobs\n2:cpu,cpuacct:/jobs/two\n");
  CHECK(limit() == INT_MAX);
  write("sys/fs/cgroup/cpu/jobs/two/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/jobs/two/cpu.cfs_period_us", "100000\n");
  CHECK(limit() == INT_MAX);
  write("sys/fs/cgroup/cpu/jobs/two/cpu.cfs_quota_us", "100000\n");
  CHECK(limit() == 1);
}
