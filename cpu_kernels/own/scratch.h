// Short-lived working memory of a kernel.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/allocator.h"

namespace mininn::cpu::own {

// `size` uninitialised elements, 64-byte aligned. They come from the CPU's caching allocator, so that a kernel that is
// called again and again asks the system for nothing.
template <class T>
class Scratch {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit Scratch(int64_t size)
      : bytes_(size_t(size) * sizeof(T)), data_(static_cast<T*>(allocator(Device::cpu()).allocate(bytes_))) {}
  ~Scratch() { allocator(Device::cpu()).deallocate(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* data() { return data_; }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace mininn::cpu::own
