// Taking down the kernel calls that ops make, instead of making them (CUDA's stream capture is the same idea). While a
// Capture is a thread's, its new tensors get promised memory, addresses that nobody may look behind, and each kernel
// call is kept with its arguments. Somebody then plans where that memory lies, once, and makes the calls again and
// again, without an op, a kernel table or an allocator.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/stream.h"

namespace mininn {

// Where an operand of a captured call lies: `offset` bytes behind the beginning of a piece of memory.
struct Place {
  size_t memory = 0;
  size_t offset = 0;
};

// A kernel call to be made later.
class CapturedCall {
 public:
  virtual ~CapturedCall() = default;
  // Makes it, where operands lie behind memory[Place::memory].
  virtual void run(std::byte* const* memory) const = 0;

  std::string_view op, kernel;  // their names
  bool joins_region = false;    // Kernel::joins_region(), on the CPU
  struct Operand {
    size_t field = 0;  // where in the arguments its address stands
    Place place;
  };
  std::vector<Operand> operands;  // those in promised memory, which place.memory counts as Capture does
};

class Capture {
 public:
  // This thread's from now on. Throws Error if it has one already.
  Capture();
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // Null: there is none, or it is paused.
  static Capture* current() { return current_; }

  // Memory for a tensor. The pieces are numbered in the order of these calls.
  std::byte* promise(size_t bytes);
  const std::vector<size_t>& promised_bytes() const { return bytes_; }
  // The piece and the offset in it; nothing for memory that exists.
  std::optional<Place> place_of(const void* address) const;

  // What captured calls read besides, and that would go otherwise.
  void keep(std::shared_ptr<const void> t) { kept_.push_back(std::move(t)); }
  std::vector<std::shared_ptr<const void>>& kept() { return kept_; }

  void add(std::unique_ptr<CapturedCall> call) { calls_.push_back(std::move(call)); }
  std::vector<std::unique_ptr<CapturedCall>>& calls() { return calls_; }

 private:
  friend class CapturePause;
  static inline constinit thread_local Capture* current_ = nullptr;  // in the header, since every launch asks

  size_t next_;                         // address
  std::vector<size_t> bytes_, begins_;  // of each piece; begins_ ascends
  std::vector<std::unique_ptr<CapturedCall>> calls_;
  std::vector<std::shared_ptr<const void>> kept_;
};

// While alive, this thread does what it says again.
class CapturePause {
 public:
  CapturePause();
  ~CapturePause();
  CapturePause(const CapturePause&) = delete;
  CapturePause& operator=(const CapturePause&) = delete;

 private:
  Capture* const paused_;
};

// Whether some capture has promised this address.
bool is_promised(const void* address);

}  // namespace mininn
