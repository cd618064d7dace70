#include "quant/tuner.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "core/device.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/sha256.h"

namespace mininn::quant {
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
  return folder.empty() ? folder : folder / "int8_tuning." MININN_KERNELS_ID ".tsv";
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    out.push_back(text.substr(begin, end - begin));
  }
  return out;
}

std::string key_of(const op::QConv2d& a, const std::vector<const Kernel<op::QConv2d>*>& candidates, int64_t between) {
  static const std::string machine = cpu_name();
  const Conv2dGeometry& g = a.g;
  std::string key =
      message(machine, "; ", num_threads(), " threads; n", g.n, " c", g.ic, ' ', g.ih, 'x', g.iw, " -> c", g.oc, ' ',
              g.oh, 'x', g.ow, " k", g.kh, 'x', g.kw, " s", g.stride_h, 'x', g.stride_w, " p", g.pad_h, 'x', g.pad_w,
              " d", g.dil_h, 'x', g.dil_w, " g", g.groups, a.y.dtype == DType::f32 ? " f32" : "", " after 2^",
              std::bit_width(uint64_t(between)), " B;");
  for (const auto* k : candidates) key += ' ' + std::string(k->name);
  return key;
}

// The kernels worth measuring: all that accept, within the preferred family if any of it does, without the reference if
// there is another.
std::vector<const Kernel<op::QConv2d>*> candidates_for(const op::QConv2d& a) {
  std::vector<const Kernel<op::QConv2d>*> preferred, others;
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu))
    if (!k.refusal(a)) (detail::prefers(preference(), k.traits.family) ? preferred : others).push_back(&k);
  auto& found = preferred.empty() ? others : preferred;
  if (found.size() > 1 && found.back()->traits.family == Family::reference) found.pop_back();
  return found;
}

// A copy of the call with memory of its own behind x, y and residual.
class Rehearsal {
 public:
  Rehearsal(const op::QConv2d& a, int64_t between) : a_(a), between_(Tensor::zeros({between}, DType::u8)) {
    Generator random(1);
    const auto codes = [&](const CView& v) {
      Tensor t = Tensor::empty({v.shape[0] * v.strides[0] + 64}, DType::u8);
      for (uint8_t& c : t.mutable_data<uint8_t>()) c = uint8_t(random.below(256));
      return t;
    };
    x_ = codes(a.x);
    a_.x.data = x_.view().data;
    if (a.residual.data) {
      residual_ = codes(a.residual);
      a_.residual.data = residual_.view().data;
    }
    y_ = Tensor::empty({a.y.shape[0] * a.y.strides[0] + 64}, a.y.dtype);
    a_.y.data = y_.mutable_view().data;
  }

  Tensor pack(const Kernel<op::QConv2d>& k) const { return k.pack(a_); }
  Reading time(const Kernel<op::QConv2d>& k, const Tensor& packed, const Stopwatch& stopwatch) {
    a_.packed = packed.view().data;
    read_between();
    return stopwatch([&] { k.run(a_, {Device::cpu(), {}}); });
  }

 private:
  // Every thread reads all of it, through its own caches, and then its part of the input, which in a network the layer
  // before has just written.
  void read_between() {
    const std::span<const uint8_t> between = between_.data<uint8_t>(), x = x_.data<uint8_t>();
    const int64_t threads = num_threads();
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      read(between);
      const size_t from = x.size() * size_t(begin) / size_t(threads), to = x.size() * size_t(end) / size_t(threads);
      read(x.subspan(from, to - from));
    });
  }
  void read(std::span<const uint8_t> bytes) {
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes.size(); i += 64) sum ^= bytes[i];
    sink_.store(sum, std::memory_order_relaxed);
  }

  op::QConv2d a_;
  Tensor between_, x_, y_, residual_;
  std::atomic<uint8_t> sink_;  // or the compiler would leave the reading out
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

Measurement measure(const op::QConv2d& a, const std::vector<const Kernel<op::QConv2d>*>& candidates, int64_t between,
                    const Stopwatch& stopwatch) {
  constexpr double kBudget = 20;   // milliseconds per candidate
  constexpr double kPatience = 2;  // budgets, where calls disagree
  constexpr int kMost = 12;
  // Measured no further once settled: kernels that are so many times as slow as the best after so many calls, or after
  // two that took so long. Not sooner, since other programs may take milliseconds out of any call.
  constexpr double kTooSlow = 1.7;
  constexpr int kFewest = 4;
  constexpr double kLong = 20;  // milliseconds
  Rehearsal rehearsal(a, between);
  std::vector<Tensor> packed;
  std::vector<Fastest> fastest(candidates.size());
  const auto call = [&](size_t i) {
    const Reading r = rehearsal.time(*candidates[i], packed[i], stopwatch);
    fastest[i].add(r);
    return r.ms;
  };
  for (size_t i = 0; i < candidates.size(); ++i) {
    packed.push_back(rehearsal.pack(*candidates[i]));
    call(i);  // warms up
    call(i);
  }
  // In turn: each finds the caches as another kernel's weights have left them, as a layer of a network does.
  const double budget = kBudget * double(candidates.size());
  double spent = 0;
  // On a busy machine calls take many times as long: then the budget ends it, and what was found is not kept.
  for (int calls = 1; calls < kMost && spent < kPatience * budget; ++calls) {
    const auto best =
        std::min_element(fastest.begin(), fastest.end(), [](auto& l, auto& r) { return l.ms() < r.ms(); });
    const double limit = kTooSlow * best->ms();
    const bool enough = calls >= kFewest && spent >= budget;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const bool slow = fastest[i].ms() > limit && (calls >= kFewest || fastest[i].ms() > kLong);
      if (!fastest[i].settled() || !(enough || slow)) spent += call(i);
    }
  }
  Measurement m;
  for (size_t i = 0; i < candidates.size(); ++i) {
    m.trials.push_back({std::string(candidates[i]->name), fastest[i].ms()});
    m.settled &= fastest[i].settled();
  }
  std::stable_sort(m.trials.begin(), m.trials.end(), [](const Trial& l, const Trial& r) { return l.ms < r.ms; });
  return m;
}

// One that exists.
const Kernel<op::QConv2d>* kernel_named(const std::string& name) {
  const auto& list = kernels<op::QConv2d>().candidates(DeviceType::cpu);
  return &*std::find_if(list.begin(), list.end(), [&](const auto& k) { return k.name == name; });
}

constexpr double kHopeless = 1.5;  // times as slow as the fastest alone: not tried in a network

// Whether `trials` are what measure() gives for these candidates.
bool measured_all(const std::vector<Trial>& trials, const std::vector<const Kernel<op::QConv2d>*>& candidates) {
  std::multiset<std::string_view> measured, wanted;
  for (const Trial& t : trials) measured.insert(t.kernel);
  for (const auto* k : candidates) wanted.insert(k->name);
  return measured == wanted &&
         std::is_sorted(trials.begin(), trials.end(), [](const Trial& l, const Trial& r) { return l.ms < r.ms; });
}

// Measures a network, by run(), with each kernel that is not hopeless in the place of `alone`'s. The winner comes
// first: the kernel that was there, unless another one is faster by more than noise.
Measurement race(const KernelChoice& alone, const std::function<void(const std::string&)>& install,
                 const std::function<Reading()>& run) {
  constexpr double kGain = 0.99;   // a smaller gain is noise
  constexpr double kBudget = 25;   // milliseconds per kernel
  constexpr double kPatience = 2;  // budgets, where runs disagree
  constexpr int kRuns = 3;         // in a turn
  // The first run after a change finds the caches as the other kernels have left them.
  const auto turn = [&](const std::string& kernel, Fastest& fastest) {
    install(kernel);
    double spent = run().ms;
    for (int i = 1; i < kRuns; ++i) {
      const Reading r = run();
      fastest.add(r);
      spent += r.ms;
    }
    return spent;
  };
  Measurement m{{{std::string(alone.kernel->name), kNever}}};
  for (const Trial& other : alone.trials) {
    if (other.kernel == alone.kernel->name || other.ms > kHopeless * alone.trials[0].ms) continue;
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

}  // namespace

Reading time_call(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  const auto interruptions = [] {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return used.ru_nivcsw;
  };
  const auto before = interruptions();
  const auto begin = Clock::now();
  call();
  const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  // More threads than processors disturb each other, always.
  return {ms, interruptions() != before && num_threads() <= int(std::thread::hardware_concurrency())};
}

Tuner::Tuner(fs::path file, Stopwatch stopwatch)
    : file_(std::move(file)), stopwatch_(std::move(stopwatch)), known_(read(file_)) {}

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

KernelChoice Tuner::choose(const op::QConv2d& a, int64_t between) {
  const auto candidates = candidates_for(a);
  if (candidates.size() < 2 || a.g.n == 0) return {&kernels<op::QConv2d>().select(a, Device::cpu()), {}, {}};
  const std::string key = key_of(a, candidates, between);
  const std::lock_guard lock(mutex_);  // also while measuring: two measurements at once would disturb each other
  std::vector<Trial>& trials = known_[key];
  if (!measured_all(trials, candidates)) {  // not known, or a damaged file
    Measurement m = measure(a, candidates, between, stopwatch_);
    trials = std::move(m.trials);
    if (m.settled) fresh_[key] = trials;
  }
  return {kernel_named(trials[0].kernel), trials, key};
}

void Tuner::choose_together(std::vector<KernelChoice>& layers,
                            const std::function<void(size_t, const Kernel<op::QConv2d>&)>& use,
                            const std::function<double()>& run_ms) {
  constexpr double kSmall = 0.02;          // of the layers' time together: what such layers do cannot be seen
  std::map<std::string, double> alone_ms;  // of all layers with a key
  double all_ms = 0;
  std::string network;
  for (const KernelChoice& c : layers) {
    network += c.key + '\n';
    if (c.trials.empty()) continue;
    alone_ms[c.key] += c.trials[0].ms;
    all_ms += c.trials[0].ms;
  }
  network = Sha256().update(network.data(), network.size()).hex();

  std::set<std::string> done;
  for (const KernelChoice& c : std::vector(layers)) {
    if (c.trials.size() < 2 || c.trials[1].ms > kHopeless * c.trials[0].ms || alone_ms[c.key] < kSmall * all_ms ||
        !done.insert(c.key).second)
      continue;
    const auto install = [&](const std::string& name) {
      const Kernel<op::QConv2d>* const kernel = kernel_named(name);
      for (size_t i = 0; i < layers.size(); ++i)
        if (layers[i].key == c.key) use(i, *(layers[i].kernel = kernel));
    };
    const auto measured = [&](const Trial& t) {
      return std::any_of(c.trials.begin(), c.trials.end(), [&](const Trial& each) { return each.kernel == t.kernel; });
    };
    const std::string key = c.key + " in network " + network;
    const std::lock_guard lock(mutex_);
    std::vector<Trial> trials = known_[key];
    if (trials.empty() || !measured(trials[0])) {
      Measurement m = race(c, install, [&] {
        double ms = 0;
        const bool disturbed = stopwatch_([&] { ms = run_ms(); }).disturbed;
        return Reading{ms, disturbed};
      });
      known_[key] = trials = std::move(m.trials);
      if (m.settled) fresh_[key] = trials;
    }
    install(trials[0].kernel);
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

Tuner* process_tuner() {
  if (!enabled() || !detail::forced_kernel(op::QConv2d::op).empty()) return nullptr;
  static Tuner tuner(cache_file());
  return &tuner;
}

KernelChoice choose_kernel(const op::QConv2d& a, int64_t between) {
  if (Tuner* const tuner = process_tuner()) return tuner->choose(a, between);
  return {&kernels<op::QConv2d>().select(a, Device::cpu()), {}, {}};
}

}  // namespace mininn::quant
