// Memory of a device.
#pragma once

#include <cstddef>

#include "core/device.h"

namespace mininn {

struct MemoryStats {
  size_t live_bytes = 0;    // handed out and not yet returned
  size_t cached_bytes = 0;  // returned, kept for the next call
  size_t peak_bytes = 0;    // highest live_bytes so far
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  // 64-byte aligned memory, not cleared. Throws Error when there is none left, ShapeError for more than an address can
  // count. `bytes` may be 0.
  virtual void* allocate(size_t bytes) = 0;
  virtual void deallocate(void* p, size_t bytes) noexcept = 0;
  // Copies between this device and the host; finished when they return.
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  virtual void copy_from_host(void* device, const void* host, size_t bytes) = 0;
  virtual MemoryStats stats() const = 0;
  virtual void release_cached() = 0;
};

// The allocator of a device. The CPU's keeps freed blocks by size class. Throws DeviceError if the build has none for
// it.
Allocator& allocator(Device d);

// The CPU's own, which needs no backend.
Allocator& cpu_allocator();

// What a device backend brings to core; CUDA's register function installs it.
struct DeviceBackend {
  int (*device_count)() = nullptr;
  Allocator& (*allocator)(int index) = nullptr;
};
void set_device_backend(DeviceType type, const DeviceBackend& backend);

}  // namespace mininn
