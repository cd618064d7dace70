// Memory of a device.
#pragma once

#include <cstddef>

#include "core/device.h"
#include "core/stream.h"

namespace mininn {

struct MemoryStats {
  size_t live_bytes = 0;    // handed out and not yet returned
  size_t cached_bytes = 0;  // asked of the system, and not live
  size_t peak_bytes = 0;    // highest live_bytes so far
};

// Memory of one device, ordered by stream: a block may be written by work on the stream that it was allocated for, and
// is used again after the work that this stream had when it was returned.
class Allocator {
 public:
  virtual ~Allocator() = default;
  // 64-byte aligned memory, not cleared; a valid address for 0 bytes too. Throws Error when there is none left,
  // ShapeError for more than an address can count.
  virtual void* allocate(size_t bytes, const Stream& stream) = 0;
  virtual void deallocate(void* p, size_t bytes, const Stream& stream) noexcept = 0;
  virtual MemoryStats stats() const = 0;
  // Gives back to the system what it can: no segment of which a block is live (core/segments.h).
  virtual void release_cached() = 0;
};

// The memory of a device; the CPU's keeps freed blocks for the next call. Throws DeviceError.
Allocator& allocator(Device d);
// The CPU's own, which needs no backend.
Allocator& cpu_allocator();

}  // namespace mininn
