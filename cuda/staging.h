// The way from the host's memory to a device's.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <mutex>

namespace mininn::cuda {

// A ring of pinned memory: the device fetches bytes from there while the caller goes on. Of memory that is not pinned
// the driver may wait for all that the stream was asked for. Is never destroyed.
class Staging {
 public:
  // Asks the stream for a copy; what is read of `from` has been read when this returns. Any thread may call it.
  void copy(void* to, const void* from, size_t bytes, cudaStream_t stream);

 private:
  static constexpr size_t kSlotBytes = size_t{512} << 10;
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t fetched = nullptr;  // marks the end of its last copy
  };

  std::mutex mutex_;
  std::array<Slot, 16> slots_;
  size_t next_ = 0;
};

}  // namespace mininn::cuda
