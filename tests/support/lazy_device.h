// What devices that need no hardware are made of: queues of work that nothing does before somebody waits for it, and
// memory that this work alone can touch: whatever else reads or writes it ends the process (SIGSEGV). Memory is all
// 0xff (NaN in every floating dtype) before its first write and after its return. For one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace mininn::testing::lazy {

inline constexpr int kPoison = 0xff;

// The memory of some devices, closed except while work is done.
class Memory {
 public:
  static constexpr size_t kBytes = size_t{1} << 30;  // of each device; pages that nothing touches cost nothing

  explicit Memory(int devices);  // throws std::bad_alloc
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* of(int device) const { return data_ + kBytes * size_t(device); }
  bool holds(const void* p) const { return p >= data_ && p < data_ + bytes_; }

  // Work may wait for work of another queue: opened once.
  class Open {
   public:
    explicit Open(Memory& m);
    ~Open();
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Memory& memory_;
  };

 private:
  void protect(int access);

  size_t bytes_;
  std::byte* data_;
  int opened_ = 0;
};

class Queue {
 public:
  explicit Queue(Memory& m) : memory_(m) {}
  void push(std::function<void()> work) { work_.push_back(std::move(work)); }
  // All that was ever pushed.
  uint64_t pushed() const { return done_ + work_.size(); }
  // Does the first `count` pieces of work that were ever pushed, as far as they are not done yet.
  void run(uint64_t count);
  void run() { run(pushed()); }

 private:
  Memory& memory_;
  std::deque<std::function<void()>> work_;
  uint64_t done_ = 0;
};

// Copies in the order of the queue, at most one end being the host's memory: what is read there is read now, and what
// is written there is poisoned until it arrives.
void copy(void* to, bool to_host, const void* from, bool from_host, size_t bytes, Queue& queue);

// A point in a queue.
struct Mark {
  std::shared_ptr<Queue> queue;
  uint64_t count = 0;
};

// Blocks of one device's memory, which come and go in the order of a queue.
class Heap {
 public:
  Heap(const Memory& m, int device) : next_(m.of(device)), end_(next_ + Memory::kBytes) {}
  // Null if there is nothing left.
  void* allocate(size_t bytes, Queue& queue);
  void deallocate(void* p, size_t bytes, Queue& queue);
  // The bytes that a block of `bytes` takes.
  static size_t rounded(size_t bytes);

 private:
  std::byte *next_, *end_;
  std::map<size_t, std::vector<std::byte*>> free_;  // by size
};

}  // namespace mininn::testing::lazy
