// Which kernel runs a call that is made often: measured once on this machine, and remembered. Works for any kernel
// table whose calls say what decides their time and can be rehearsed (Tunable).
//
// MININN_TUNE=on (the default) measures what is not known yet and keeps it in a file in $MININN_CACHE_DIR, else in
// $XDG_CACHE_HOME/mininn or ~/.cache/mininn. The file's name carries a hash of the kernels' and the tuner's sources:
// times of other kernels say nothing about these. What is measured while other programs take the processors away is
// used and not kept: the next process measures again. MININN_TUNE=off measures nothing, reads nothing and takes the
// order of the kernel table, the same on every machine with these instructions. Where an op's kernels give different
// bits (fp32, not int8), so may two tunings.
#pragma once

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/kernel.h"
#include "core/tensor.h"

namespace mininn {

// A call with memory of its own behind all that its kernels read as an activation or write.
template <class Args>
struct Rehearsal {
  Args args;
  Tensor input;                // what the op before it has just written, in a network
  std::vector<Tensor> others;  // the rest of that memory
};

// What the tuner asks of a kernel's arguments. key(): what of the call decides its time, in words without tabs and line
// ends; empty if it computes nothing. rehearse(): a copy on the CPU whose activations are random and whose constants
// are the call's own.
template <class Args>
concept Tunable = requires(const Args& a) {
  { Args::op } -> std::convertible_to<std::string_view>;
  { a.key() } -> std::same_as<std::string>;
  { a.rehearse() } -> std::same_as<Rehearsal<Args>>;
};

struct Trial {
  std::string kernel;
  double ms = 0;  // the fastest of several calls, with packed constants
};

// How long a call took, and whether something else ran on its processors meanwhile.
struct Reading {
  double ms = 0;
  bool disturbed = false;
};
// Makes a call and takes its time.
using TimeCall = std::function<Reading(const std::function<void()>& call)>;
// By the clock, and the number of times that Linux took a processor from one of this process's threads.
Reading time_call(const std::function<void()>& call);

template <class Args>
struct KernelChoice {
  const Kernel<Args>* kernel = nullptr;
  // Every candidate alone, fastest first; empty if nothing was measured. After choose_together() the choice may be
  // another one than the first.
  std::vector<Trial> trials;
  std::string key;  // what the measurement counts for
};

// The same without its type: a layer of a network, to Tuner::choose_together().
struct TunedLayer {
  std::string kernel;  // empty: none is to be chosen
  std::vector<Trial> trials;
  std::string key;
};

template <class Args>
TunedLayer untyped(const KernelChoice<Args>& c) {
  return {std::string(c.kernel ? c.kernel->name : ""), c.trials, c.key};
}

// A kernel that exists.
template <class Args>
const Kernel<Args>* kernel_named(std::string_view name) {
  const auto& list = kernels<Args>().candidates(DeviceType::cpu);
  return &*std::find_if(list.begin(), list.end(), [&](const auto& k) { return k.name == name; });
}

namespace detail {

// Calls to measure, by the number of the candidate.
struct Contest {
  Tensor input;
  std::function<void(size_t)> pack, run;
};

template <Tunable Args>
using Candidates = std::vector<const Kernel<Args>*>;

// The kernels worth measuring: all that accept, within the preferred family if any of it does, without the reference if
// there is another.
template <Tunable Args>
Candidates<Args> worth_measuring(const Args& a, DeviceType d) {
  Candidates<Args> preferred, others;
  for (const auto& k : kernels<Args>().candidates(d))
    if (!k.refusal(a)) (prefers(preference(), k.traits.family) ? preferred : others).push_back(&k);
  auto& found = preferred.empty() ? others : preferred;
  if (found.size() > 1 && found.back()->traits.family == Family::reference) found.pop_back();
  return found;
}

template <Tunable Args>
Contest contest(const Args& a, const Candidates<Args>& candidates) {
  struct State {
    Rehearsal<Args> call;
    Candidates<Args> kernels;
    std::vector<Tensor> packed;
  };
  const auto s = std::make_shared<State>(State{a.rehearse(), candidates, std::vector<Tensor>(candidates.size())});
  const auto pack = [s](size_t i) {
    if (s->kernels[i]->pack) s->packed[i] = s->kernels[i]->pack(s->call.args);
  };
  const auto run = [s](size_t i) {
    if constexpr (requires { s->call.args.packed; })
      s->call.args.packed = s->packed[i] ? s->packed[i].view().data : nullptr;
    s->kernels[i]->run(s->call.args, {Device::cpu(), {}});
  };
  return {s->call.input, pack, run};
}

}  // namespace detail

// Threads may share one.
class Tuner {
 public:
  // Knows what the file holds. No file, one that cannot be understood, one of more than 16 MB and what is no regular
  // file are empty ones.
  explicit Tuner(std::filesystem::path file, TimeCall how = time_call);

  // The kernel for calls like `a`, whose data pointers need not be valid except those of constants. What was measured
  // counts for the processor, the number of threads, the op, the call's key(), the kernels that accept and the order of
  // magnitude of `between`: the bytes that the rest of the network reads between two such calls, which push this
  // layer's weights out of the caches. A preferred family (set_preference) is respected. Measures on the CPU alone:
  // elsewhere, and for a call that computes nothing, the table's choice. Throws KernelError if no kernel takes the
  // call.
  template <Tunable Args>
  KernelChoice<Args> choose(const Args& a, Device device, int64_t between = 0) {
    const auto candidates = detail::worth_measuring(a, device.type);
    const std::string call = a.key();
    if (device.type != DeviceType::cpu || candidates.size() < 2 || call.empty())
      return {&kernels<Args>().select(a, device), {}, {}};
    std::vector<std::string> names;
    for (const auto* k : candidates) names.emplace_back(k->name);
    std::string key = key_of(Args::op, call, names, between);
    std::vector<Trial> trials = measured(key, names, between, [&] { return detail::contest(a, candidates); });
    if (detail::dispatch_verbose()) log(Args::op, trials);
    return {kernel_named<Args>(trials[0].kernel), std::move(trials), std::move(key)};
  }

  // Chooses again for the layers of one network, by the time of the network: weights that one layer's kernel spreads
  // out push those of the others from the caches, and no layer alone shows that. Layers with the same key change
  // together, those first that come first; layers that take less than 2% of the time and kernels 1.5 times as slow as
  // the fastest are left out. install(i, kernel) puts another kernel into layer i, run_ms() runs the network and says
  // how long it took. The results are remembered for this network.
  using Install = std::function<void(size_t layer, const std::string& kernel)>;
  void choose_together(const std::vector<TunedLayer>& layers, const Install& install,
                       const std::function<double()>& run_ms);

  // Adds what has been measured since to the file; entries of other processes stay. A file that cannot be written, or
  // is no regular one, is no error: the next process measures again.
  void save();

 private:
  using Known = std::map<std::string, std::vector<Trial>>;  // by key

  static Known read(const std::filesystem::path& file);
  static std::string key_of(std::string_view op, const std::string& call, const std::vector<std::string>& kernels,
                            int64_t between);
  static void log(std::string_view op, const std::vector<Trial>& trials);

  // The times of `kernels`, fastest first; measured unless they are known.
  std::vector<Trial> measured(const std::string& key, const std::vector<std::string>& kernels, int64_t between,
                              const std::function<detail::Contest()>& contest);

  std::filesystem::path file_;
  TimeCall time_call_;
  std::mutex mutex_;
  Known known_, fresh_;  // fresh: to be kept, and not in the file yet
};

// The process's tuner, with its file, as the environment says. Null without tuning, and while a kernel is forced for
// `op` (ForceKernel). Throws ValueError if MININN_TUNE is neither on nor off.
Tuner* process_tuner(std::string_view op);
// Keeps what the process has measured (Tuner::save).
void save_tuning();

// By the process's tuner, or the table's choice without. Throws KernelError, or what process_tuner() throws.
template <Tunable Args>
KernelChoice<Args> choose_kernel(const Args& a, Device device, int64_t between) {
  if (Tuner* const tuner = process_tuner(Args::op)) return tuner->choose(a, device, between);
  return {&kernels<Args>().select(a, device), {}, {}};
}

}  // namespace mininn
