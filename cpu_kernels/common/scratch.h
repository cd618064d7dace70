// Short-lived working memory of a kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/shape.h"

namespace mininn::cpu {

// The top of this thread's stack of working memory, 64-byte aligned. What is taken last is given back first. Throws
// Error if there is no memory.
void* take_scratch(size_t bytes);
void give_back_scratch(void* p, size_t bytes) noexcept;

// `size` uninitialised elements. They come from a stack that each thread keeps, so that a kernel that is called again
// and again neither asks the system for memory nor waits for another thread.
template <class T>
class Scratch {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit Scratch(int64_t size)
      : bytes_(size_t(checked_mul("a kernel's working memory", size, int64_t(sizeof(T))))),
        data_(static_cast<T*>(take_scratch(bytes_))) {}
  ~Scratch() { give_back_scratch(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace mininn::cpu
