#include "cpu_kernels/common/scratch.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include "core/error.h"
#include "core/integers.h"

namespace mininn::cpu {
namespace {

constexpr size_t kAlignment = 64, kFirstBlock = size_t{1} << 20;

// Memory in blocks, each at least as large as all that was ever in use at once. Once everything has been given back
// only the last one is kept, so a thread that does the same work again finds one block that is large enough.
class Stack {
 public:
  Stack() = default;
  ~Stack() {
    for (const Block& b : blocks_) std::free(b.memory);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* take(size_t bytes) {
    const size_t most = std::max(most_, used_ + bytes);
    if (blocks_.empty() || blocks_.back().size - blocks_.back().used < bytes) add_block(std::max(most, kFirstBlock));
    Block& top = blocks_.back();
    top.used += bytes;
    used_ += bytes;
    most_ = most;
    return top.memory + (top.used - bytes);
  }

  void give_back(size_t bytes) noexcept {
    auto top = blocks_.rbegin();
    while (top->used < bytes) ++top;  // blocks behind the last piece's are empty
    top->used -= bytes;
    used_ -= bytes;
    while (blocks_.size() > 1 && blocks_[0].used == 0) {
      std::free(blocks_[0].memory);
      blocks_.erase(blocks_.begin());
    }
  }

 private:
  struct Block {
    std::byte* memory;
    size_t size, used;
  };

  void add_block(size_t size) {
    blocks_.reserve(blocks_.size() + 1);  // so that nothing can fail once there is memory
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
    if (!memory) throw Error(message("out of memory: a kernel wanted ", size, " bytes to work in"));
    blocks_.push_back({memory, size, 0});
  }

  std::vector<Block> blocks_;
  size_t used_ = 0, most_ = 0;
};

[[maybe_unused]] thread_local Stack stack;

}  // namespace

#ifdef __SANITIZE_ADDRESS__  // on the heap, piece by piece: AddressSanitizer then sees where each ends
void* take_scratch(size_t bytes) { return ::operator new(bytes, std::align_val_t(kAlignment)); }
void give_back_scratch(void* p, size_t) noexcept { ::operator delete(p, std::align_val_t(kAlignment)); }
#else
void* take_scratch(size_t bytes) { return stack.take(round_up(bytes, kAlignment)); }
void give_back_scratch(void*, size_t bytes) noexcept { stack.give_back(round_up(bytes, kAlignment)); }
#endif

}  // namespace mininn::cpu
