// A compiled int8 network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "nn/graph/memory_plan.h"
#include "quant/int8_model.h"
#include "quant/report.h"

namespace mininn::quant {

struct Int8NetOptions {
  // Larger batches go through the network this many images at a time, so that activations stay in the cache. Kernels
  // are chosen, and weights packed, for batches of one (which run up to 4), a quarter of a slice (up to half a slice)
  // and a slice, as far as these differ. 1 to 65,536; fewer go together where their activations would take more than
  // 1 GB.
  int64_t slice = 32;
};

// Runs an Int8Model. Kernels are chosen and weights packed when a net is made, so the first call is as fast as the
// others. A net is immutable, with weights of its own that nobody can write to, and cheap to copy; any number of
// threads may call forward() at once.
class Int8Net {
 public:
  // Throws ValueError, ShapeError or DTypeError if the model is inconsistent, ValueError for an option out of range,
  // KernelError if no kernel takes a step.
  explicit Int8Net(Int8Model model, Int8NetOptions options = {});

  // [N,...] as the network was traced -> its output; any N. With an ImageNormalization x is raw u8 images [N,C,H,W],
  // otherwise f32. The result does not depend on how images are batched, on the number of threads or on the kernels;
  // what float ops contribute (LayerNote::in_float) does as far as theirs round differently. Throws DTypeError,
  // ShapeError, DeviceError.
  Tensor forward(const Tensor& x) const;
  Tensor operator()(const Tensor& x) const { return forward(x); }

  // Chooses the kernels anew, for the preference and forced kernels of this moment, and packs the weights for them.
  void repack();

  Report report() const;
  // The same with the time of each node: the median of `repeats` runs on x.
  Report profile(const Tensor& x, int repeats = 20) const;
  // What lies where in the block of Report::arena_bytes_per_image. Nodes are those of the model's graph.
  std::vector<nn::graph::ArenaPiece> arena_of_one() const;

  // One file that load() gives back bit for bit (quant/int8_file.h). Throw FileError.
  void save(const std::filesystem::path& path) const;
  static Int8Net load(const std::filesystem::path& path, Int8NetOptions options = {});

  // Its tensors are frozen (Tensor::frozen).
  const Int8Model& model() const { return *model_; }

 private:
  friend class Int8Stepper;
  struct Compiled;

  // Throws ValueError for what is wrong with the options or the environment, whatever the model.
  static void check_settings(const Int8NetOptions& options);

  std::shared_ptr<const Int8Model> model_;
  Int8NetOptions options_;
  std::shared_ptr<const Compiled> compiled_;
};

// Runs a net's nodes one at a time with every value kept: for measuring errors and for tests. Nodes and values are
// those of the model's graph. Throws ValueError for one that does not exist.
class Int8Stepper {
 public:
  // For batches of n, 1 to 65,536.
  Int8Stepper(const Int8Net& net, int64_t n);

  // Feeds the network's input, as forward() takes it.
  void set_input(const Tensor& x);
  // Overwrites a value by real numbers, rounded to the grid of its codes if it has any; f32 in its shape, or any with
  // as many elements. Throws DTypeError for sums and others that are neither codes nor f32.
  void set(int id, const Tensor& real);
  void run(size_t node);

  // A value: u8 codes [n,c,h,w], i32 sums [n,c] or f32; a copy, contiguous.
  Tensor raw(int id) const;
  // What it stands for, in f32; for sums the mean of each map.
  Tensor real(int id) const;

 private:
  static Tensor like(const TensorInfo& t);
  const nn::graph::Graph& graph() const;
  size_t checked(int id) const;

  Int8Net net_;
  int64_t n_;
  std::vector<Tensor> values_;
};

}  // namespace mininn::quant
