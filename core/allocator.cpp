#include "core/allocator.h"

#include <pthread.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/backend.h"
#include "core/error.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace mininn {
namespace {

// AddressSanitizer sees only what malloc() handed out: it is told which bytes of it belong to a tensor now.
void show_to_sanitizer([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
#endif
}
void hide_from_sanitizer([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_POISON_MEMORY_REGION(p, bytes);
#endif
}

constexpr size_t kAlignment = 64;
constexpr size_t kAlwaysCached = size_t{256} << 20;

// Blocks come in sizes of four steps per power of two, so a freed one fits the next tensor of about its size at a waste
// of at most 25%: class 0 has 256 bytes, 1 to 4 have 320, 384, 448 and 512, and so on.
constexpr size_t kSmallest = 256, kClasses = 4 * (64 - std::bit_width(kSmallest)) + 1;
constexpr size_t size_class(size_t bytes) {
  if (bytes <= kSmallest) return 0;
  const auto octave = size_t(std::bit_width(bytes - 1) - std::bit_width(kSmallest));
  return octave * 4 + ((bytes - 1) / (kSmallest / 4) >> octave) - 3;
}
constexpr size_t block_bytes(size_t index) {  // of a class
  return index == 0 ? kSmallest : (5 + (index - 1) % 4) * (kSmallest / 4) << (index - 1) / 4;
}
static_assert(block_bytes(size_class(257)) == 320 && block_bytes(size_class(512)) == 512);
static_assert(size_class(size_t(PTRDIFF_MAX)) == kClasses - 1);

class CachingAllocator final : public Allocator {
 public:
  // fork() waits until no other thread is in here: the child would have a mutex that nobody unlocks.
  CachingAllocator() {
    static CachingAllocator* const self = this;
    const auto unlock = [] { self->mutex_.unlock(); };
    ::pthread_atfork([] { self->mutex_.lock(); }, unlock, unlock);
  }

  void* allocate(size_t bytes, const Stream&) override {
    if (bytes > size_t(PTRDIFF_MAX)) throw ShapeError(message("no memory has ", bytes, " bytes"));
    const size_t index = size_class(bytes), size = block_bytes(index);
    const std::lock_guard lock(mutex_);
    auto& blocks = free_[index];
    void* p = nullptr;
    if (!blocks.empty()) {
      p = blocks.back();
      blocks.pop_back();
      stats_.cached_bytes -= size;
    } else {
      p = std::aligned_alloc(kAlignment, size);
      if (!p) {
        release();
        p = std::aligned_alloc(kAlignment, size);
      }
      if (!p) throw Error(message("out of memory: ", bytes, " bytes wanted, ", stats_.live_bytes, " in use"));
    }
    hide_from_sanitizer(p, size);
    show_to_sanitizer(p, bytes);
    stats_.live_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return p;
  }

  void deallocate(void* p, size_t bytes, const Stream&) noexcept override {
    const size_t index = size_class(bytes), size = block_bytes(index);
    hide_from_sanitizer(p, size);
    const std::lock_guard lock(mutex_);
    stats_.live_bytes -= size;
    // A program whose shapes keep changing must not hoard: never cache more than was once in use.
    if (stats_.cached_bytes + size > std::max(kAlwaysCached, stats_.peak_bytes)) release();
    try {
      free_[index].push_back(p);
      stats_.cached_bytes += size;
    } catch (...) {
      free_block(p, size);
    }
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void release_cached() override {
    const std::lock_guard lock(mutex_);
    release();
  }

 private:
  static void free_block(void* p, size_t size) noexcept {
    show_to_sanitizer(p, size);
    std::free(p);
  }

  void release() noexcept {
    for (size_t index = 0; index < kClasses; ++index) {
      for (void* p : free_[index]) free_block(p, block_bytes(index));
      stats_.cached_bytes -= block_bytes(index) * free_[index].size();
      free_[index].clear();
    }
  }

  mutable std::mutex mutex_;
  std::vector<void*> free_[kClasses];  // by size class
  MemoryStats stats_;
};

}  // namespace

// Never destroyed: tensors with static storage duration may outlive every other static.
Allocator& cpu_allocator() {
  static auto* a = new CachingAllocator;
  return *a;
}

Allocator& allocator(Device d) { return d == Device::cpu() ? cpu_allocator() : backend(d).memory(d.index); }

}  // namespace mininn
