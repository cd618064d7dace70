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
#include "core/sanitizer.h"
#include "core/segments.h"

namespace mininn {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kAlwaysCached = size_t{256} << 20;

// Small blocks come in sizes of four steps per power of two, so a freed one fits the next tensor of about its size at a
// waste of at most 25%: class 0 has 256 bytes, 1 to 4 have 320, 384, 448 and 512, and so on. Larger ones are cut from
// segments (core/segments.h).
constexpr size_t kSmallest = 256, kLargestSmall = size_t{1} << 20;
constexpr size_t kClasses = 4 * (std::bit_width(kLargestSmall) - std::bit_width(kSmallest)) + 1;
constexpr size_t size_class(size_t bytes) {
  if (bytes <= kSmallest) return 0;
  const auto octave = size_t(std::bit_width(bytes - 1) - std::bit_width(kSmallest));
  return octave * 4 + ((bytes - 1) / (kSmallest / 4) >> octave) - 3;
}
constexpr size_t block_bytes(size_t index) {  // of a class
  return index == 0 ? kSmallest : (5 + (index - 1) % 4) * (kSmallest / 4) << (index - 1) / 4;
}
static_assert(block_bytes(size_class(257)) == 320 && block_bytes(size_class(512)) == 512);
static_assert(size_class(kLargestSmall) == kClasses - 1 && block_bytes(kClasses - 1) == kLargestSmall);

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
    const std::lock_guard lock(mutex_);
    void* p = find(bytes);
    if (!p) {
      release();
      p = find(bytes);
    }
    if (!p) throw Error(message("out of memory: ", bytes, " bytes wanted, ", live_, " in use"));
    const size_t size = size_of_block(p, bytes);
    hide_from_sanitizer(p, size);
    show_to_sanitizer(p, bytes);
    live_ += size;
    peak_ = std::max(peak_, live_);
    return p;
  }

  void deallocate(void* p, size_t bytes, const Stream&) noexcept override {
    const std::lock_guard lock(mutex_);
    const size_t size = size_of_block(p, bytes);
    hide_from_sanitizer(p, size);
    live_ -= size;
    if (bytes > kLargestSmall) return large_.give_back(p);
    // A program whose shapes keep changing must not hoard: never cache more than was once in use.
    if (small_cached_ + size > std::max(kAlwaysCached, peak_)) release_small();
    try {
      free_[size_class(bytes)].push_back(p);
      small_cached_ += size;
    } catch (...) {
      free_block(p, size);
    }
  }

  MemoryStats stats() const override {
    const std::lock_guard lock(mutex_);
    return {.live_bytes = live_, .cached_bytes = small_cached_ + large_.free_bytes(), .peak_bytes = peak_};
  }

  void release_cached() override {
    const std::lock_guard lock(mutex_);
    release();
  }

 private:
  // Null: there is none left.
  void* find(size_t bytes) {
    if (bytes > kLargestSmall) return large_.take(bytes);
    const size_t index = size_class(bytes), size = block_bytes(index);
    auto& blocks = free_[index];
    if (blocks.empty()) return std::aligned_alloc(kAlignment, size);
    void* const p = blocks.back();
    blocks.pop_back();
    small_cached_ -= size;
    return p;
  }

  static size_t size_of_block(const void* p, size_t bytes) {
    return bytes > kLargestSmall ? Segments::block_bytes(p) : block_bytes(size_class(bytes));
  }

  static void free_block(void* p, size_t size) noexcept {
    show_to_sanitizer(p, size);
    std::free(p);
  }

  void release_small() noexcept {
    for (size_t index = 0; index < kClasses; ++index) {
      for (void* p : free_[index]) free_block(p, block_bytes(index));
      free_[index].clear();
    }
    small_cached_ = 0;
  }

  void release() noexcept {
    release_small();
    large_.release();
  }

  mutable std::mutex mutex_;
  std::vector<void*> free_[kClasses];  // small blocks, by size class
  Segments large_;
  size_t live_ = 0, peak_ = 0, small_cached_ = 0;  // bytes
};

}  // namespace

// Never destroyed: tensors with static storage duration may outlive every other static.
Allocator& cpu_allocator() {
  static auto* a = new CachingAllocator;
  return *a;
}

Allocator& allocator(Device d) { return d == Device::cpu() ? cpu_allocator() : backend(d).memory(d.index); }

}  // namespace mininn
