#include "core/recycling_allocator.h"

#include "core/sanitizer.h"

namespace mininn::detail {
namespace {

constexpr size_t kStep = 32, kLargest = 1024;       // bytes
constexpr size_t kMostWaiting = size_t{256} << 10;  // bytes of one size, in a thread

struct Block {
  Block* next;
};

constexpr size_t size_class(size_t bytes) { return bytes == 0 ? 0 : (bytes - 1) / kStep; }
constexpr size_t block_bytes(size_t index) { return (index + 1) * kStep; }

struct Waiting {
  Block* first = nullptr;
  size_t bytes = 0;
};
// Those without a destructor may be used by the destructors of other thread-local and static objects, in any order.
thread_local Waiting waiting[size_class(kLargest) + 1];  // by size class
// No more blocks are kept: this thread ends. AddressSanitizer knows better than a list here what was freed.
thread_local bool ended = kAddressSanitizer;

struct ThreadEnd {
  ~ThreadEnd() {
    ended = true;
    for (Waiting& w : waiting)
      while (Block* const b = w.first) {
        w.first = b->next;
        ::operator delete(b);
      }
  }
};
thread_local ThreadEnd thread_end;

}  // namespace

void* take_block(size_t bytes) {
  if (bytes > kLargest) return ::operator new(bytes);
  const size_t index = size_class(bytes);
  Waiting& w = waiting[index];
  Block* const b = w.first;
  if (!b) return ::operator new(kAddressSanitizer ? bytes : block_bytes(index));
  w.first = b->next;
  w.bytes -= block_bytes(index);
  return b;
}

void give_back_block(void* p, size_t bytes) noexcept {
  if (bytes > kLargest || ended) return ::operator delete(p);
  const size_t index = size_class(bytes);
  Waiting& w = waiting[index];
  if (w.bytes + block_bytes(index) > kMostWaiting) return ::operator delete(p);
  (void)&thread_end;  // from the first use on its destructor waits for the end of the thread
  w.first = new (p) Block{w.first};
  w.bytes += block_bytes(index);
}

}  // namespace mininn::detail
