#include "quant/tuner.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <set>

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

std::string key_of(const QConv2d& a, const std::vector<const Kernel<QConv2d>*>& candidates, int64_t between) {
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

// The kernels worth measuring: all that accept, within the preferred family if any of it does, without the reference
// at the list's end if there is another.
std::vector<const Kernel<QConv2d>*> candidates_for(const QConv2d& a) {
  std::vector<const Kernel<QConv2d>*> preferred, others;
  const auto& list = qconv2d_kernels().kernels(DeviceType::cpu);
  for (const auto& k : list)
    if (!k.check(a)) (detail::in_family(k.name, preference()) ? preferred : others).push_back(&k);
  auto& found = preferred.empty() ? others : preferred;
  if (found.size() > 1 && found.back() == &list.back()) found.pop_back();
  return found;
}

// A copy of the call with memory of its own behind x, y and residual.
class Rehearsal {
 public:
  Rehearsal(const QConv2d& a, int64_t between) : a_(a), between_(Tensor::zeros({between}, DType::u8)) {
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

  Tensor pack(const Kernel<QConv2d>& k) const { return k.pack(a_); }
  double ms(const Kernel<QConv2d>& k, const Tensor& packed) {
    using Clock = std::chrono::steady_clock;
    a_.packed = packed.view().data;
    read_between();
    const auto begin = Clock::now();
    k.run(a_, {Device::cpu(), {}});
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
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

  QConv2d a_;
  Tensor between_, x_, y_, residual_;
  std::atomic<uint8_t> sink_;  // or the compiler would leave the reading out
};

std::vector<Trial> measure(const QConv2d& a, const std::vector<const Kernel<QConv2d>*>& candidates, int64_t between) {
  constexpr double kBudget = 20;  // milliseconds per candidate
  constexpr int kMost = 12;
  // Measured no further: kernels that are so many times as slow as the best after so many calls, or after one that
  // took so long. Not sooner, since other programs may take milliseconds out of any call.
  constexpr double kTooSlow = 1.7;
  constexpr int kFewest = 4;
  constexpr double kLong = 20;  // milliseconds
  Rehearsal rehearsal(a, between);
  std::vector<Tensor> packed;
  std::vector<Trial> trials;
  for (const auto* k : candidates) {
    packed.push_back(rehearsal.pack(*k));
    rehearsal.ms(*k, packed.back());
    trials.push_back({std::string(k->name), rehearsal.ms(*k, packed.back())});
  }
  const auto best = [&] {
    return std::min_element(trials.begin(), trials.end(), [](auto& l, auto& r) { return l.ms < r.ms; })->ms;
  };
  // In turn: each finds the caches as another kernel's weights have left them, as a layer of a network does.
  double spent = 0;
  for (int calls = 1; calls < kMost && (calls < kFewest || spent < kBudget * double(trials.size())); ++calls) {
    const double limit = kTooSlow * best();
    for (size_t i = 0; i < trials.size(); ++i) {
      if (trials[i].ms > limit && (calls >= kFewest || trials[i].ms > kLong)) continue;
      const double ms = rehearsal.ms(*candidates[i], packed[i]);
      spent += ms;
      trials[i].ms = std::min(trials[i].ms, ms);
    }
  }
  std::stable_sort(trials.begin(), trials.end(), [](const Trial& l, const Trial& r) { return l.ms < r.ms; });
  return trials;
}

// One that exists.
const Kernel<QConv2d>* kernel_named(const std::string& name) {
  const auto& list = qconv2d_kernels().kernels(DeviceType::cpu);
  return &*std::find_if(list.begin(), list.end(), [&](const auto& k) { return k.name == name; });
}

constexpr double kHopeless = 1.5;  // times as slow as the fastest alone: not tried in a network

// Measures a network, by run_ms(), with each kernel that is not hopeless in the place of `alone`'s. The winner comes
// first: the kernel that was there, unless another one is faster by more than noise.
std::vector<Trial> race(const KernelChoice& alone, const std::function<void(const std::string&)>& install,
                        const std::function<double()>& run_ms) {
  constexpr double kGain = 0.99;  // a smaller gain is noise
  constexpr double kBudget = 25;  // milliseconds per kernel
  constexpr int kRuns = 3;        // in a turn
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // The first run after a change finds the caches as the other kernels have left them.
  const auto best_of_runs = [&](Trial& t) {
    install(t.kernel);
    double spent = run_ms();
    for (int i = 1; i < kRuns; ++i) {
      const double ms = run_ms();
      t.ms = std::min(t.ms, ms);
      spent += ms;
    }
    return spent;
  };
  std::vector<Trial> trials{{std::string(alone.kernel->name), kNever}};
  for (const Trial& other : alone.trials) {
    if (other.kernel == alone.kernel->name || other.ms > kHopeless * alone.trials[0].ms) continue;
    Trial best{trials[0].kernel, kNever}, rival{other.kernel, kNever};
    for (double spent = 0; spent < 2 * kBudget;) spent += best_of_runs(best) + best_of_runs(rival);
    trials[0].ms = best.ms;
    trials.insert(rival.ms < kGain * best.ms ? trials.begin() : trials.end(), rival);
  }
  return trials;
}

}  // namespace

Tuner::Tuner(fs::path file) : file_(std::move(file)), known_(read(file_)) {}

// A line is a key and its trials, the winner first, between tabs; a trial is a kernel, a space and its nanoseconds. A
// line that is something else counts for nothing.
Tuner::Known Tuner::read(const fs::path& file) {
  Known known;
  for (const std::string& line : lines(read_file(file))) {
    std::vector<Trial> trials;
    bool good = true;
    const size_t key_end = line.find('\t');
    for (size_t begin = key_end; begin < line.size();) {
      const size_t end = std::min(line.find('\t', begin + 1), line.size());
      const std::string trial = line.substr(begin + 1, end - begin - 1);
      const size_t space = trial.find(' ');
      const int64_t ns = space < trial.size() ? std::strtoll(trial.c_str() + space, nullptr, 10) : 0;
      good &= ns > 0;
      trials.push_back({trial.substr(0, space), double(ns) * 1e-6});
      begin = end;
    }
    if (good && !trials.empty()) known[line.substr(0, key_end)] = std::move(trials);
  }
  return known;
}

KernelChoice Tuner::choose(const QConv2d& a, int64_t between) {
  const auto candidates = candidates_for(a);
  if (candidates.size() < 2 || a.g.n == 0) return {&qconv2d_kernels().select(a, Device::cpu()), {}, {}};
  const std::string key = key_of(a, candidates, between);
  const std::lock_guard lock(mutex_);  // also while measuring: two measurements at once would disturb each other
  std::vector<Trial>& trials = known_[key];
  const auto candidate = [&](const Trial& t) {
    return std::any_of(candidates.begin(), candidates.end(), [&](const auto* k) { return k->name == t.kernel; });
  };
  if (trials.empty() || !std::all_of(trials.begin(), trials.end(), candidate))  // not known, or a damaged file
    fresh_[key] = trials = measure(a, candidates, between);
  return {kernel_named(trials[0].kernel), trials, key};
}

void Tuner::choose_together(std::vector<KernelChoice>& layers,
                            const std::function<void(size_t, const Kernel<QConv2d>&)>& use,
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
      const Kernel<QConv2d>* const kernel = kernel_named(name);
      for (size_t i = 0; i < layers.size(); ++i)
        if (layers[i].key == c.key) use(i, *(layers[i].kernel = kernel));
    };
    const auto measured = [&](const Trial& t) {
      return std::any_of(c.trials.begin(), c.trials.end(), [&](const Trial& each) { return each.kernel == t.kernel; });
    };
    const std::string key = c.key + " in network " + network;
    const std::lock_guard lock(mutex_);
    std::vector<Trial> trials = known_[key];
    if (trials.empty() || !measured(trials[0])) known_[key] = fresh_[key] = trials = race(c, install, run_ms);
    install(trials[0].kernel);
  }
}

void Tuner::save() {
  const std::lock_guard lock(mutex_);
  if (fresh_.empty() || file_.empty()) return;
  Known all = read(file_);
  for (const auto& [key, trials] : fresh_) all[key] = trials;
  // Readers see the old file or the new one, never half of one.
  const fs::path temporary = file_.string() + message(".", getpid());
  std::error_code ignored;
  fs::create_directories(file_.parent_path(), ignored);
  std::string text;
  for (const auto& [key, trials] : all) {
    text += key;
    for (const Trial& t : trials) text += message('\t', t.kernel, ' ', std::llround(t.ms * 1e6));
    text += '\n';
  }
  File out = open_file(temporary, "wb");
  if (!out || std::fwrite(text.data(), 1, text.size(), out.get()) != text.size() || std::fflush(out.get()) != 0) {
    fs::remove(temporary, ignored);
    return;
  }
  fs::rename(temporary, file_, ignored);
  fresh_.clear();
}

Tuner* process_tuner() {
  if (!enabled() || !detail::forced_kernel(qconv2d_kernels().op()).empty()) return nullptr;
  static Tuner tuner(cache_file());
  return &tuner;
}

KernelChoice choose_kernel(const QConv2d& a, int64_t between) {
  if (Tuner* const tuner = process_tuner()) return tuner->choose(a, between);
  return {&qconv2d_kernels().select(a, Device::cpu()), {}, {}};
}

}  // namespace mininn::quant
