#include "core/tuner.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "core/file.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "core/stopwatch.h"

namespace mininn {
namespace {

namespace fs = std::filesystem;

bool enabled() {
  const char* text = std::getenv("MININN_TUNE");
  const std::string mode = text ? text : "on";
  if (mode != "on" && mode != "off") throw ValueError(message("MININN_TUNE='", mode, "' is neither on nor off"));
  return mode == "on";
}

// Empty: there is no place for it.
fs::path cache_file() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return fs::path(text ? text : "");
  };
  fs::path folder = variable("MININN_CACHE_DIR");
  if (folder.empty() && !variable("XDG_CACHE_HOME").empty()) folder = variable("XDG_CACHE_HOME") / "mininn";
  if (folder.empty() && !variable("HOME").empty()) folder = variable("HOME") / ".cache" / "mininn";
  return folder.empty() ? folder : folder / "tuning." MININN_KERNELS_ID ".tsv";
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
  }
  return out;
}

// Takes the time of a contest's calls, made as a network would make them.
class Timer {
 public:
  Timer(detail::Contest contest, int64_t between)
      : contest_(std::move(contest)), between_(Tensor::zeros({between}, DType::u8)) {}

  void pack(size_t i) { contest_.pack(i); }
  Reading time(size_t i, const TimeCall& how) {
    read_between();
    return how([&] { contest_.run(i); });
  }

 private:
  // Every thread reads all of it, through its own caches, and then its part of the input, which in a network the layer
  // before has just written.
  void read_between() {
    const std::span<const std::byte> between = bytes(between_), input = bytes(contest_.input);
    const int64_t threads = num_threads();
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      read(between);
      const size_t from = input.size() * size_t(begin) / size_t(threads),
                   to = input.size() * size_t(end) / size_t(threads);
      read(input.subspan(from, to - from));
    });
  }
  static std::span<const std::byte> bytes(const Tensor& t) {
    return {t.view().data, size_t(t.numel()) * size_of(t.dtype())};
  }
  void read(std::span<const std::byte> bytes) {
    std::byte sum{};
    for (size_t i = 0; i < bytes.size(); i += 64) sum ^= bytes[i];
    sink_.store(sum, std::memory_order_relaxed);
  }

  detail::Contest contest_;
  Tensor between_;
  std::atomic<std::byte> sink_;  // or the compiler would leave the reading out
};

constexpr double kNever = std::numeric_limits<double>::infinity();

// The fastest of a kernel's calls. One call says little: whatever else the machine did may have made it slow.
class Fastest {
 public:
  void add(const Reading& r) {
    ms_ = std::min(ms_, r.ms);
    if (r.disturbed) return;
    second_ = std::min(second_, std::max(best_, r.ms));
    best_ = std::min(best_, r.ms);
  }
  double ms() const { return ms_; }
  // Two calls that nothing disturbed agree on it.
  bool settled() const { return second_ < kNever && second_ <= kAgree * best_; }

 private:
  static constexpr double kAgree = 1.25;
  double ms_ = kNever, best_ = kNever, second_ = kNever;  // of all calls; of those that nothing disturbed
};

struct Measurement {
  std::vector<Trial> trials;
  bool settled = true;  // worth keeping
};

Measurement measure(Timer& timer, const std::vector<std::string>& kernels, const TimeCall& how) {
  constexpr double kBudget = 20;   // milliseconds per candidate
  constexpr double kPatience = 2;  // budgets, where calls disagree
  constexpr int kMost = 12;
  // Measured no further once settled: kernels that are so many times as slow as the best after so many calls, or after
  // two that took so long. Not sooner, since other programs may take milliseconds out of any call.
  constexpr double kTooSlow = 1.7;
  constexpr int kFewest = 4;
  constexpr double kLong = 20;  // milliseconds
  std::vector<Fastest> fastest(kernels.size());
  const auto call = [&](size_t i) {
    const Reading r = timer.time(i, how);
    fastest[i].add(r);
    return r.ms;
  };
  for (size_t i = 0; i < kernels.size(); ++i) {
    timer.pack(i);
    call(i);  // warms up
    call(i);
  }
  // In turn: each finds the caches as another kernel's weights have left them, as a layer of a network does.
  const double budget = kBudget * double(kernels.size());
  double spent = 0;
  // On a busy machine calls take many times as long: then the budget ends it, and what was found is not kept.
  for (int calls = 1; calls < kMost && spent < kPatience * budget; ++calls) {
    const auto best =
        std::min_element(fastest.begin(), fastest.end(), [](auto& l, auto& r) { return l.ms() < r.ms(); });
    const double limit = kTooSlow * best->ms();
    const bool enough = calls >= kFewest && spent >= budget;
    for (size_t i = 0; i < kernels.size(); ++i) {
      const bool slow = fastest[i].ms() > limit && (calls >= kFewest || fastest[i].ms() > kLong);
      if (!fastest[i].settled() || !(enough || slow)) spent += call(i);
    }
  }
  Measurement m;
  for (size_t i = 0; i < kernels.size(); ++i) {
    m.trials.push_back({kernels[i], fastest[i].ms()});
    m.settled &= fastest[i].settled();
  }
  std::stable_sort(m.trials.begin(), m.trials.end(), [](const Trial& l, const Trial& r) { return l.ms < r.ms; });
  return m;
}

constexpr double kHopeless = 1.5;  // times as slow as the fastest alone: not tried in a network

// Whether `trials` are what measure() gives for these kernels.
bool measured_all(const std::vector<Trial>& trials, const std::vector<std::string>& kernels) {
  std::multiset<std::string_view> measured;
  for (const Trial& t : trials) measured.insert(t.kernel);
  return measured == std::multiset<std::string_view>(kernels.begin(), kernels.end()) &&
         std::is_sorted(trials.begin(), trials.end(), [](const Trial& l, const Trial& r) { return l.ms < r.ms; });
}

// Measures a network, by run(), with each kernel of `alone` that is not hopeless in the place of `kernel`. The winner
// comes first: the kernel that was there, unless another one is faster by more than noise.
Measurement race(const std::string& kernel, const std::vector<Trial>& alone,
                 const std::function<void(const std::string&)>& install, const std::function<Reading()>& run) {
  constexpr double kGain = 0.99;   // a smaller gain is noise
  constexpr double kBudget = 25;   // milliseconds per kernel
  constexpr double kPatience = 2;  // budgets, where runs disagree
  constexpr int kRuns = 3;         // in a turn
  // The first run after a change finds the caches as the other kernels have left them.
  const auto turn = [&](const std::string& name, Fastest& fastest) {
    install(name);
    double spent = run().ms;
    for (int i = 1; i < kRuns; ++i) {
      const Reading r = run();
      fastest.add(r);
      spent += r.ms;
    }
    return spent;
  };
  Measurement m{{{kernel, kNever}}};
  for (const Trial& other : alone) {
    if (other.kernel == kernel || other.ms > kHopeless * alone[0].ms) continue;
    const std::string best = m.trials[0].kernel;
    Fastest of_best, of_rival;
    const auto settled = [&] { return of_best.settled() && of_rival.settled(); };
    for (double spent = 0; spent < 2 * kBudget * (settled() ? 1 : kPatience);)
      spent += turn(best, of_best) + turn(other.kernel, of_rival);
    m.settled &= settled();
    m.trials[0].ms = of_best.ms();
    const bool wins = of_rival.ms() < kGain * of_best.ms();
    m.trials.insert(wins ? m.trials.begin() : m.trials.end(), {other.kernel, of_rival.ms()});
  }
  return m;
}

Tuner& the_tuner() {
  static Tuner tuner(cache_file());
  return tuner;
}

}  // namespace

Reading time_call(const std::function<void()>& call) {
  const auto interruptions = [] {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return used.ru_nivcsw;
  };
  const auto before = interruptions();
  const Stopwatch watch;
  call();
  const double ms = watch.ms();
  // More threads than processors disturb each other, always.
  return {ms, interruptions() != before && num_threads() <= int(std::thread::hardware_concurrency())};
}

Tuner::Tuner(fs::path file, TimeCall how) : file_(std::move(file)), time_call_(std::move(how)), known_(read(file_)) {}

// A line is a key and its trials, the winner first, between tabs; a trial is a kernel, a space and its nanoseconds. A
// line that is something else counts for nothing.
Tuner::Known Tuner::read(const fs::path& file) {
  constexpr uintmax_t kMost = 16 << 20;  // bytes
  constexpr int64_t kLongest = 3'600'000'000'000;
  Known known;
  std::error_code none;
  if (!fs::is_regular_file(file, none) || fs::file_size(file, none) > kMost) return known;
  for (const std::string& line : lines(read_file(file))) {
    std::vector<Trial> trials;
    bool good = true;
    const size_t key_end = line.find('\t');
    for (size_t begin = key_end; begin < line.size();) {
      const size_t end = std::min(line.find('\t', begin + 1), line.size());
      const std::string trial = line.substr(begin + 1, end - begin - 1);
      const size_t space = std::min(trial.find(' '), trial.size());
      const char* const last = trial.data() + trial.size();
      int64_t ns = 0;
      const auto [stop, error] = std::from_chars(std::min(trial.data() + space + 1, last), last, ns);
      good &= error == std::errc() && stop == last && ns > 0 && ns <= kLongest;
      trials.push_back({trial.substr(0, space), double(ns) * 1e-6});
      begin = end;
    }
    if (good && !trials.empty()) known[line.substr(0, key_end)] = std::move(trials);
  }
  return known;
}

std::string Tuner::key_of(std::string_view op, const std::string& call, const std::vector<std::string>& kernels,
                          int64_t between) {
  static const std::string machine = cpu_name();
  std::string key = message(machine, "; ", num_threads(), " threads; ", op, ' ', call, " after 2^",
                            std::bit_width(uint64_t(between)), " B;");
  for (const std::string& k : kernels) key += ' ' + k;
  return key;
}

std::vector<Trial> Tuner::measured(const std::string& key, const std::vector<std::string>& kernels, int64_t between,
                                   const std::function<detail::Contest()>& contest) {
  const std::lock_guard lock(mutex_);  // also while measuring: two measurements at once would disturb each other
  std::vector<Trial>& trials = known_[key];
  if (!measured_all(trials, kernels)) {  // not known, or a damaged file
    Timer timer(contest(), between);
    Measurement m = measure(timer, kernels, time_call_);
    trials = std::move(m.trials);
    if (m.settled) fresh_[key] = trials;
  }
  return trials;
}

void Tuner::log(std::string_view op, const std::vector<Trial>& trials) {
  std::string times;
  for (const Trial& t : trials) times += message("\n  ", t.kernel, ": ", t.ms, " ms");
  detail::log_choice(op, trials[0].kernel, "measured", times);
}

void Tuner::choose_together(const std::vector<TunedLayer>& layers, const Install& install,
                            const std::function<double()>& run_ms) {
  constexpr double kSmall = 0.02;          // of the layers' time together: what such layers do cannot be seen
  std::map<std::string, double> alone_ms;  // of all layers with a key
  double all_ms = 0;
  std::string network;
  for (const TunedLayer& l : layers) {
    network += l.key + '\n';
    if (l.trials.empty()) continue;
    alone_ms[l.key] += l.trials[0].ms;
    all_ms += l.trials[0].ms;
  }
  network = Sha256().update(network.data(), network.size()).hex();

  std::set<std::string> done;
  for (const TunedLayer& l : layers) {
    if (l.trials.size() < 2 || l.trials[1].ms > kHopeless * l.trials[0].ms || alone_ms[l.key] < kSmall * all_ms ||
        !done.insert(l.key).second)
      continue;
    const auto install_all = [&](const std::string& kernel) {
      for (size_t i = 0; i < layers.size(); ++i)
        if (layers[i].key == l.key) install(i, kernel);
    };
    const auto took_part = [&](const Trial& t) {
      return std::any_of(l.trials.begin(), l.trials.end(), [&](const Trial& each) { return each.kernel == t.kernel; });
    };
    const std::string key = l.key + " in network " + network;
    const std::lock_guard lock(mutex_);
    std::vector<Trial> trials = known_[key];
    if (trials.empty() || !took_part(trials[0])) {
      Measurement m = race(l.kernel, l.trials, install_all, [&] {
        double ms = 0;
        const bool disturbed = time_call_([&] { ms = run_ms(); }).disturbed;
        return Reading{ms, disturbed};
      });
      known_[key] = trials = std::move(m.trials);
      if (m.settled) fresh_[key] = trials;
    }
    install_all(trials[0].kernel);
  }
}

void Tuner::save() {
  const std::lock_guard lock(mutex_);
  std::error_code ignored;
  if (fresh_.empty() || file_.empty() || (fs::exists(file_, ignored) && !fs::is_regular_file(file_, ignored))) return;
  Known all = read(file_);
  for (const auto& [key, trials] : fresh_) all[key] = trials;
  std::string text;
  for (const auto& [key, trials] : all) {
    text += key;
    for (const Trial& t : trials) text += message('\t', t.kernel, ' ', std::llround(t.ms * 1e6));
    text += '\n';
  }
  try {
    make_folder(file_.parent_path());
    AtomicFile out(file_);
    out.write(text.data(), text.size());
    out.commit();
    fresh_.clear();
  } catch (const FileError&) {
  }
}

Tuner* process_tuner(std::string_view op) {
  return enabled() && detail::forced_kernel(op).empty() ? &the_tuner() : nullptr;
}

void save_tuning() {
  if (enabled()) the_tuner().save();
}

}  // namespace mininn
