// The targets without libFuzzer: valid inputs, mutated again and again. A child process does the work, so that whatever
// ends it can be told, with the input in a file. The same seed makes the same inputs.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <string>

#include "core/parallel.h"
#include "core/stopwatch.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/limits.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::fuzz;

namespace {

constexpr int kTooMuchMemory = 99;  // the child's exit status
constexpr size_t kPool = 200;       // accepted mutants that are mutated further

struct Options {
  uint64_t seed = 1, runs = UINT64_MAX;
  double seconds = 1e9;
  std::string artifact;
  std::vector<std::string> files;  // run only these
};

// What the child did, in memory that both processes share.
struct Statistics {
  uint64_t runs = 0, accepted = 0;
  double slowest = 0;  // seconds of CPU time
  size_t memory = 0, allowed = 0;
};

size_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return size_t(usage.ru_maxrss) * 1024;
}

void set_timer(int which, double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = time_t(seconds);
  timer.it_value.tv_usec = suseconds_t((seconds - double(timer.it_value.tv_sec)) * 1e6);
  ::setitimer(which, &timer, nullptr);
}

// run() within the limits; ends the process beyond them.
bool run_limited(const std::string& input, size_t memory_before, Statistics& s) {
  const std::clock_t begin = std::clock();
  const size_t highest = peak_memory();
  set_timer(ITIMER_PROF, kCpuSeconds);
  set_timer(ITIMER_REAL, 30 * kCpuSeconds);  // for a thread that waits for ever
  ++s.runs;
  const bool accepted = run(input);
  set_timer(ITIMER_PROF, 0);
  set_timer(ITIMER_REAL, 0);
  s.accepted += accepted;
  s.slowest = std::max(s.slowest, double(std::clock() - begin) / CLOCKS_PER_SEC);
  s.memory = peak_memory() - memory_before;
  s.allowed = kMemory + kMemoryPerByte * input.size();
  if (peak_memory() > highest && s.memory > s.allowed) ::_exit(kTooMuchMemory);
  return accepted;
}

void work(const Options& o, Statistics& s) {
  const Stopwatch watch;
  set_num_threads(1);
  std::vector<std::string> pool = seeds();
  const size_t valid = pool.size();
  for (const std::string& seed : pool) require(run(seed), "every seed is a valid input");
  const size_t memory = peak_memory();

  for (const std::string& file : o.files) {
    std::fprintf(stderr, "%s\n", file.c_str());
    run_limited(read_file(file), memory, s);
  }
  if (!o.files.empty()) return;

  // Written before every run: it is there when the process has ended. Mutating is part of what may end it.
  const File file = open_file(o.artifact, "wb");
  require(file != nullptr, "the artifact can be written");
  const int artifact = ::fileno(file.get());
  Random random(o.seed);
  while (s.runs < o.runs && watch.seconds() < o.seconds) {
    std::string input = mutate(pick(random, pool), random);
    input.resize(std::min(input.size(), kMaxInput));
    require(::ftruncate(artifact, 0) == 0 && ::pwrite(artifact, input.data(), input.size(), 0) == ssize_t(input.size()),
            "the artifact can be written");
    if (!run_limited(input, memory, s)) continue;
    if (pool.size() < valid + kPool)
      pool.push_back(std::move(input));
    else
      pool[valid + below(random, kPool)] = std::move(input);
  }
  ::unlink(o.artifact.c_str());
}

// What ended the child; empty if it finished.
std::string finding(int status, const Statistics& s) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == kTooMuchMemory)
    return message("took ", s.memory >> 20, " MiB of memory, the limit is ", s.allowed >> 20);
  if (WIFEXITED(status)) return message("exit status ", WEXITSTATUS(status), " (see above)");
  switch (WTERMSIG(status)) {
    case SIGPROF: return message("took more than ", kCpuSeconds, " s of CPU time");
    case SIGALRM: return message("took more than ", 30 * kCpuSeconds, " s");
    default: return message("signal ", WTERMSIG(status), ", ", ::strsignal(WTERMSIG(status)), " (see above)");
  }
}

int usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--seed K] [--runs N] [--seconds S] [--artifact FILE] [FILE to run alone]...\n",
               program);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = std::filesystem::path(argv[0]).filename().string();
  Options o{.artifact = name + ".finding", .files = {}};
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (!option.starts_with("--")) {
      o.files.push_back(option);
      continue;
    }
    if (++i == argc) return usage(argv[0]);
    if (option == "--seed")
      o.seed = std::strtoull(argv[i], nullptr, 10);
    else if (option == "--runs")
      o.runs = std::strtoull(argv[i], nullptr, 10);
    else if (option == "--seconds")
      o.seconds = std::strtod(argv[i], nullptr);
    else if (option == "--artifact")
      o.artifact = argv[i];
    else
      return usage(argv[0]);
  }

  const mininn::testing::TempFolder folder;  // for what a child leaves behind
  ::setenv("TMPDIR", folder.path.c_str(), 1);
  ::setenv("MININN_TUNE", "off", 0);
  void* const shared = ::mmap(nullptr, sizeof(Statistics), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  require(shared != MAP_FAILED, "there is memory to share");
  Statistics& s = *new (shared) Statistics;
  const Stopwatch watch;
  const pid_t child = ::fork();
  if (child == 0) {
    require(std::freopen("/dev/null", "w", stdout), "there is a place for what commands tell their user");
    work(o, s);
    std::exit(0);  // not _exit(): leaks are looked for here
  }
  int status = 0;
  require(child > 0 && ::waitpid(child, &status, 0) == child, "there can be a child process");
  const double seconds = watch.seconds();
  std::printf("%s: seed %llu: %llu runs in %.1f s (%.0f/s), %llu accepted, slowest %.2f s of CPU, memory +%zu MiB\n",
              name.c_str(), static_cast<unsigned long long>(o.seed), static_cast<unsigned long long>(s.runs), seconds,
              double(s.runs) / seconds, static_cast<unsigned long long>(s.accepted), s.slowest, s.memory >> 20);
  const std::string what = finding(status, s);
  if (what.empty()) return 0;
  std::printf("%s: finding: run %llu %s%s\n", name.c_str(), static_cast<unsigned long long>(s.runs), what.c_str(),
              o.files.empty() ? message("; the input is in ", o.artifact).c_str() : "");
  return 1;
}
