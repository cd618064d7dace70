#include "core/recycling_allocator.h"

#include <new>

#include "core/sanitizer.h"

namespace mininn::detail {
namespace {

constexpr size_t kStep = 32, kLargest = 1024;
constexpr size_t kMostWaiting = size_t{4} << 20;  // bytes, in a thread

struct Block {
  Block* next;
};

constexpr size_t size_class(size_t bytes) { return bytes == 0 ? 0 : (bytes - 1) / kStep; }
constexpr size_t block_bytes(size_t index) { return (index + 1) * kStep; }

// Those without a destructor may be used by the destructors of other thread-local and static objects, in any order.
thread_local Block* waiting[size_class(kLargest) + 1];  // by size class
thread_local size_t waiting_bytes = 0;
thread_local bool ended = false;  // this thread keeps no more blocks

void free_block(Block* b, size_t index) {
  show_to_sanitizer(b, block_bytes(index));
  ::operator delete(b);
}

struct ThreadEnd {
  ~ThreadEnd() {
    ended = true;
    for (size_t index = 0; index <= size_class(kLargest); ++index)
      while (Block* const b = waiting[index]) {
        waiting[index] = b->next;
        free_block(b, index);
      }
  }
};
thread_local ThreadEnd thread_end;

}  // namespace

void* take_block(size_t bytes) {
  const size_t index = size_class(bytes);
  if (bytes > kLargest) return ::operator new(bytes);
  Block* const b = waiting[index];
  if (!b) return ::operator new(block_bytes(index));
  waiting[index] = b->next;
  waiting_bytes -= block_bytes(index);
  show_to_sanitizer(b, bytes);
  return b;
}

void give_back_block(void* p, size_t bytes) noexcept {
  if (bytes > kLargest) return ::operator delete(p);
  const size_t index = size_class(bytes);
  (void)&thread_end;  // from the first use on its destructor waits for the end of the thread
  if (ended || waiting_bytes + block_bytes(index) > kMostWaiting) return ::operator delete(p);
  auto* const b = new (p) Block{waiting[index]};
  hide_from_sanitizer(b + 1, block_bytes(index) - sizeof *b);
  waiting[index] = b;
  waiting_bytes += block_bytes(index);
}

}  // namespace mininn::detail
