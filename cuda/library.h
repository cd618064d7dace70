// A vendor's shared library, opened when somebody asks for it: programs start without one, and then run own kernels.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/kernel.h"

namespace mininn::cuda {

// Never closed: what it has made may outlive every static.
class Library {
 public:
  explicit Library(std::string file);  // "libcudnn.so.9", where the system's loader looks
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  void* handle() const { return handle_; }
  // Why it cannot be called, as long as this object lives: it was not found, or lacks a function that was asked for.
  Refusal refusal() const { return {why_.empty() ? nullptr : why_.c_str()}; }

  // Null where refusal() says why.
  template <class Function>
  Function* function(const char* name) {
    return reinterpret_cast<Function*>(find(name));
  }

 private:
  void* find(const char* name);

  std::string file_, why_;
  void* handle_;
};

// A sentence for a vendor's library that gave no handle: what it said, and what is wrong with the machine, if anything.
std::string cannot_start(const char* library, const char* said);

// Longer sums could lose digits: in how many parts a vendor adds them up is not known.
inline constexpr int64_t kLongestSum = 1 << 16;
inline constexpr const char* kSumTooLong = "would lose digits of so long a sum";

}  // namespace mininn::cuda
