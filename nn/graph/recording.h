// What a Program keeps of a call that it has captured, and the memory that such calls run in. Private to nn/graph/.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/capture.h"
#include "core/stream.h"
#include "core/tensor.h"
#include "nn/graph/layout.h"
#include "nn/graph/memory_plan.h"

namespace mininn::nn::graph {

// A call's kernels. Its memory: one piece per input, one per output, and the arena.
struct Recording {
  std::vector<Layout> inputs, outputs;
  std::vector<std::unique_ptr<const CapturedCall>> calls;
  std::vector<std::shared_ptr<const void>> kept;
  std::vector<size_t> ends;  // node i made the calls before ends[i] and not before those of its predecessor
  size_t arena_bytes = 0;
  std::vector<ArenaPiece> arena;

  // Takes over what was captured and decides where all of it lies. `values` are the pieces that hold results of nodes,
  // `results` those that become the outputs.
  void place(Capture& capture, const std::set<size_t>& values, const std::vector<size_t>& results);
  bool takes(std::span<const Tensor> in) const;
  // Kernels share one parallel region where they can.
  void run(std::byte* const* memory) const;
};

// The memory of one call at a time. Calls that come with the same addresses again are taken down and replayed, where
// the device can do that.
class Arena {
 public:
  Arena(size_t bytes, const Stream& s);

  bool serves(size_t bytes, const Stream& s) const;
  // Where a call of `r` finds its inputs, its outputs and the block. Good until the next call of place().
  std::byte* const* place(const Recording& r, std::span<const Tensor> inputs, std::span<Tensor> outputs);
  // The call that was placed.
  void run(const std::shared_ptr<const Recording>& r);

 private:
  Tensor block_;
  Stream stream_;
  std::vector<std::byte*> memory_;
  // The last call, and, if the one before was the same, what the device has of it.
  std::shared_ptr<const Recording> recording_;
  std::vector<std::byte*> seen_;
  std::optional<std::shared_ptr<void>> taken_;
};

}  // namespace mininn::nn::graph
