#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "cuda/check.h"

namespace mininn::cuda {

void Staging::copy(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  for (size_t done = 0; done < bytes;) {
    const size_t n = std::min(bytes - done, kSlotBytes);
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
    if (!slot.memory) {
      void* p = nullptr;
      MININN_CUDA_CHECK(cudaEventCreateWithFlags(&slot.fetched, cudaEventDisableTiming));
      MININN_CUDA_CHECK(cudaMallocHost(&p, kSlotBytes));
      slot.memory = static_cast<std::byte*>(p);
    } else {
      MININN_CUDA_CHECK(cudaEventSynchronize(slot.fetched));
    }
    std::memcpy(slot.memory, static_cast<const std::byte*>(from) + done, n);
    MININN_CUDA_CHECK(
        cudaMemcpyAsync(static_cast<std::byte*>(to) + done, slot.memory, n, cudaMemcpyHostToDevice, stream));
    MININN_CUDA_CHECK(cudaEventRecord(slot.fetched, stream));
    done += n;
  }
}

}  // namespace mininn::cuda
