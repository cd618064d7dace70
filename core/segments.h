// Memory in blocks of any size, cut from a few large segments.
//
// A block is cut off the smallest free one that is large enough, and joined with its free neighbours when it comes
// back. So what one step of a training gives back serves the next one, and other sizes too, without asking the system:
// fresh pages cost it as much time as filling them. Before a segment is added, those that are wholly free go back if
// more is free than was ever taken.
#pragma once

#include <cstddef>
#include <vector>

namespace mininn {

class Segments {
 public:
  Segments() = default;
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

  // 64-byte aligned; at least one byte behind `bytes` is in no other block, so that AddressSanitizer has one to hide.
  // Null if there is none left.
  void* take(size_t bytes);
  void give_back(void* p) noexcept;
  // What a block has room for.
  static size_t block_bytes(const void* p);

  size_t free_bytes() const { return bytes_ - taken_; }
  // Gives those back to the system of which no block is taken.
  void release() noexcept;

 private:
  struct Block;

  Block* add_segment(size_t size);
  void cut(Block* b, size_t size);
  void link(Block* b);
  void unlink(Block* b);

  std::vector<Block*> segments_;  // the first block of each
  Block* free_ = nullptr;         // the list of them, in no order
  size_t bytes_ = 0;              // of all segments
  size_t taken_ = 0, most_taken_ = 0;
};

}  // namespace mininn
