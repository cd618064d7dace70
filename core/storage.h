// Reference-counted bytes on a device, shared by the tensors that are views of each other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/device.h"
#include "core/stream.h"

namespace mininn {

class Storage {
 public:
  // On the current stream of the device.
  Storage(size_t bytes, Device device);
  // Memory that somebody else owns and that outlives this object by way of `owner`.
  Storage(void* data, size_t bytes, Device device, std::shared_ptr<void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return stream_.device; }

  // Counts writes through Tensor::mutable_data, so that autograd can tell a saved tensor was overwritten.
  uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

  // From now on tensors refuse to write here. To be called before the storage is shared.
  void freeze() { frozen_ = true; }
  bool frozen() const { return frozen_; }

 private:
  std::byte* data_;
  size_t bytes_;
  Stream stream_;                // that the memory was allocated for
  std::shared_ptr<void> owner_;  // null: the device's allocator gave the memory
  std::atomic<uint64_t> version_{0};
  bool frozen_ = false;
};

}  // namespace mininn
