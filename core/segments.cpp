#include "core/segments.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "core/integers.h"
#include "core/sanitizer.h"

namespace mininn {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kFirstSegment = size_t{16} << 20;
constexpr size_t kLeastRest = size_t{1} << 20;  // less is not cut off

}  // namespace

// Stands in front of a block's bytes.
struct alignas(kAlignment) Segments::Block {
  size_t size;    // with this header
  Block* before;  // the neighbour, in the same segment; null: there is none
  bool last;      // of the segment
  bool taken;
  Block *next, *previous;  // in the list of free ones

  std::byte* data() { return reinterpret_cast<std::byte*>(this) + sizeof(Block); }
  Block* after() { return last ? nullptr : reinterpret_cast<Block*>(reinterpret_cast<std::byte*>(this) + size); }
  static Block* of(void* data) { return reinterpret_cast<Block*>(static_cast<std::byte*>(data) - sizeof(Block)); }
};

void* Segments::take(size_t bytes) {
  const size_t size = sizeof(Block) + round_up(bytes + 1, kAlignment);
  Block* best = nullptr;
  for (Block* b = free_; b; b = b->next)
    if (b->size >= size && (!best || b->size < best->size || (b->size == best->size && b < best))) best = b;
  if (!best) best = add_segment(size);
  if (!best) return nullptr;
  unlink(best);
  cut(best, size);
  taken_ += best->size;
  most_taken_ = std::max(most_taken_, taken_);
  return best->data();
}

void Segments::give_back(void* p) noexcept {
  Block* b = Block::of(p);
  taken_ -= b->size;
  const auto join = [](Block* first, const Block* second) {
    first->size += second->size;
    first->last = second->last;
    if (Block* const next = first->after()) next->before = first;
  };
  if (Block* const next = b->after(); next && !next->taken) {
    unlink(next);
    join(b, next);
  }
  if (b->before && !b->before->taken) {
    Block* const before = b->before;
    unlink(before);
    join(before, b);
    b = before;
  }
  link(b);
}

size_t Segments::block_bytes(const void* p) { return Block::of(const_cast<void*>(p))->size - sizeof(Block); }

void Segments::release() noexcept {
  std::erase_if(segments_, [&](Block* first) {
    if (first->taken || !first->last) return false;
    unlink(first);
    bytes_ -= first->size;
    show_to_sanitizer(first, first->size);
    std::free(first);
    return true;
  });
}

// Each is as large as all before it together, so that there are few; pages that nobody writes to cost nothing. If the
// system refuses, as large as need be.
Segments::Block* Segments::add_segment(size_t size) {
  if (free_bytes() > most_taken_) release();
  try {
    segments_.reserve(segments_.size() + 1);  // so that nothing can fail once there is memory
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  size_t got = std::max({size, bytes_, kFirstSegment});
  void* memory = std::aligned_alloc(kAlignment, got);
  if (!memory) memory = std::aligned_alloc(kAlignment, got = size);
  if (!memory) return nullptr;
  auto* const b = new (memory)
      Block{.size = got, .before = nullptr, .last = true, .taken = false, .next = nullptr, .previous = nullptr};
  hide_from_sanitizer(b->data(), got - sizeof(Block));
  segments_.push_back(b);
  bytes_ += got;
  link(b);
  return b;
}

// Makes what is behind the first `size` bytes of a block that is in no list a free one.
void Segments::cut(Block* b, size_t size) {
  if (b->size - size < kLeastRest) return;
  void* const behind = reinterpret_cast<std::byte*>(b) + size;
  show_to_sanitizer(behind, sizeof(Block));
  auto* const rest = new (behind)
      Block{.size = b->size - size, .before = b, .last = b->last, .taken = false, .next = nullptr, .previous = nullptr};
  if (Block* const next = rest->after()) next->before = rest;
  b->size = size;
  b->last = false;
  link(rest);
}

void Segments::link(Block* b) {
  b->taken = false;
  b->previous = nullptr;
  b->next = free_;
  if (free_) free_->previous = b;
  free_ = b;
}

void Segments::unlink(Block* b) {
  b->taken = true;
  (b->previous ? b->previous->next : free_) = b->next;
  if (b->next) b->next->previous = b->previous;
}

}  // namespace mininn
