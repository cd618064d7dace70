#include "tests/support/lazy_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "core/integers.h"

namespace mininn::testing::lazy {

Memory::Memory(int devices) : bytes_(kBytes * size_t(devices)) {
  void* const p = ::mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(p);
  ::madvise(data_, bytes_, MADV_HUGEPAGE);  // opening and closing takes time by the page
}

void Memory::protect(int access) {
  if (::mprotect(data_, bytes_, access) == 0) return;
  std::perror("lazy::Memory: mprotect");
  std::abort();
}

Memory::Open::Open(Memory& m) : memory_(m) {
  if (memory_.opened_++ == 0) memory_.protect(PROT_READ | PROT_WRITE);
}

Memory::Open::~Open() {
  if (--memory_.opened_ == 0) memory_.protect(PROT_NONE);
}

void Queue::run(uint64_t count) {
  const Memory::Open open(memory_);
  while (done_ < count) {
    const std::function<void()> next = std::move(work_.front());
    work_.pop_front();
    ++done_;
    next();
  }
}

void copy(void* to, bool to_host, const void* from, bool from_host, size_t bytes, Queue& queue) {
  if (from_host) {
    const auto* const p = static_cast<const std::byte*>(from);
    return queue.push([to, host = std::vector(p, p + bytes)] { std::memcpy(to, host.data(), host.size()); });
  }
  if (to_host) std::memset(to, kPoison, bytes);
  queue.push([to, from, bytes] { std::memcpy(to, from, bytes); });
}

size_t Heap::rounded(size_t bytes) { return std::max<size_t>(round_up(bytes, 64), 64); }

void* Heap::allocate(size_t bytes, Queue& queue) {
  const size_t size = rounded(bytes);
  std::byte* p = nullptr;
  if (auto& blocks = free_[size]; !blocks.empty()) {
    p = blocks.back();
    blocks.pop_back();
  } else {
    if (size > size_t(end_ - next_)) return nullptr;
    p = std::exchange(next_, next_ + size);
  }
  queue.push([p, size] { std::memset(p, kPoison, size); });
  return p;
}

void Heap::deallocate(void* p, size_t bytes, Queue& queue) {
  const size_t size = rounded(bytes);
  queue.push([this, p, size] {
    std::memset(p, kPoison, size);
    free_[size].push_back(static_cast<std::byte*>(p));
  });
}

}  // namespace mininn::testing::lazy
