// Which kernel runs each convolution of a compiled net: measured once on this machine, and remembered.
//
// MININN_TUNE=on (the default) measures what is not known yet and keeps it in a file in $MININN_CACHE_DIR, else in
// $XDG_CACHE_HOME/mininn or ~/.cache/mininn. The file's name carries a hash of the kernels' and the tuner's sources:
// times of other kernels say nothing about these. What is measured while other programs take the processors away is
// used and not kept: the next process measures again. MININN_TUNE=off measures nothing, reads nothing and takes the
// order of the kernel table, the same on every machine with these instructions. Results do not depend on it: all
// kernels give the same bytes.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "ops/qconv2d.h"

namespace mininn::quant {

struct Trial {
  std::string kernel;
  double ms = 0;  // the fastest of several calls, with packed weights
};

// How long a call took, and whether something else ran on its processors meanwhile.
struct Reading {
  double ms = 0;
  bool disturbed = false;
};
// Makes a call and takes its time.
using Stopwatch = std::function<Reading(const std::function<void()>& call)>;
// By the clock, and the number of times that Linux took a processor from one of this process's threads.
Reading time_call(const std::function<void()>& call);

struct KernelChoice {
  const Kernel<op::QConv2d>* kernel = nullptr;
  // Every candidate alone, fastest first; empty if nothing was measured. After choose_together() the choice may be
  // another one than the first.
  std::vector<Trial> trials;
  std::string key;  // what the measurement counts for
};

// Threads may share one.
class Tuner {
 public:
  // Knows what the file holds. No file, one that cannot be understood, one of more than 16 MB and what is no regular
  // file are empty ones.
  explicit Tuner(std::filesystem::path file, Stopwatch stopwatch = time_call);

  // The kernel for calls like `a`, whose data pointers need not be valid except those of w, bias and multiplier. What
  // was measured counts for the processor, the number of threads, the shape, the kernels that accept and the order of
  // magnitude of `between`: the bytes that the rest of the network reads between two such calls, which push this
  // layer's weights out of the caches. A preferred family (set_preference) is respected. Throws KernelError if no
  // kernel takes the call.
  KernelChoice choose(const op::QConv2d& a, int64_t between = 0);

  // Chooses again for the layers of one network, by the time of the network: weights that one layer's kernel spreads
  // out push those of the others from the caches, and no layer alone shows that. Layers with the same key change
  // together, those first that come first; layers that take less than 2% of the time and kernels 1.5 times as slow as
  // the fastest are left out. `layers` has a choice for each; use(i, kernel) puts another kernel into layer i, run_ms()
  // runs the network and says how long it took. The results are remembered for this network.
  void choose_together(std::vector<KernelChoice>& layers,
                       const std::function<void(size_t, const Kernel<op::QConv2d>&)>& use,
                       const std::function<double()>& run_ms);

  // Adds what has been measured since to the file; entries of other processes stay. A file that cannot be written, or
  // is no regular one, is no error: the next process measures again.
  void save();

 private:
  using Known = std::map<std::string, std::vector<Trial>>;  // by key
  static Known read(const std::filesystem::path& file);

  std::filesystem::path file_;
  Stopwatch stopwatch_;
  std::mutex mutex_;
  Known known_, fresh_;  // fresh: to be kept, and not in the file yet
};

// The process's tuner and its file, as the environment says; without tuning, or with a forced kernel (ForceKernel), the
// table's choice. Throws KernelError, or ValueError if MININN_TUNE is neither on nor off.
KernelChoice choose_kernel(const op::QConv2d& a, int64_t between);
// Null without tuning.
Tuner* process_tuner();

}  // namespace mininn::quant
