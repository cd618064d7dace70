#include "tests/cuda/emulate/watch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tests/cuda/emulate/emulate.h"

extern "C" char __data_start[], _end[];  // what statics lie between, __shared__ ones among them

namespace emulate::watch {
namespace {

// Who did something, and when: a time that goes on with each start and each barrier, the thread's number in its block,
// and flags. Stamps of an earlier launch mean nothing, so nobody clears them.
using Stamp = uint64_t;
constexpr Stamp kAtomic = 1, kCopying = 2, kSplit = 4;  // of what writes
constexpr Stamp kOfWarp = 1, kOfOthers = 2;             // of what reads: more threads of the warp did, those of others
constexpr Stamp kThread = 8, kWarp = 32 * kThread, kTime = 1024 * kThread;

// What is known of a word, or of a byte.
struct Cell {
  Stamp write, read;
};

// Memory, with a cell for each word that is touched as a whole, and one for each byte of others, which are split.
struct Region {
  static constexpr size_t kWord = 4;

  uintptr_t begin = 0;
  size_t size = 0;
  Stamp floor = 0;  // what is older does not count
  Cell *words = nullptr, *bytes = nullptr;

  Region() = default;
  Region(uintptr_t from, size_t n)
      : begin(from / kWord * kWord),
        size(from - begin + n),
        words(cells(size / kWord + 1)),
        bytes(cells(size + kWord)) {}
  bool holds(uintptr_t at) const { return at - begin < size; }

 private:
  static Cell* cells(size_t n) {  // memory that nothing touches costs nothing
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* const p = ::mmap(nullptr, n * sizeof(Cell), PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (p == MAP_FAILED) fail("no memory to watch kernels with");
    return static_cast<Cell*>(p);
  }
};

enum class Access { read, write, atomic, copy, arrival };

// Blocks of a launch that are watched, its first ones: all would make the tests several times as long.
constexpr size_t kWatchedBlocks = 16;

struct State {
  Stamp time = 0, mine = 0;                // now, and of what this thread does
  Stamp block = 0, barrier = 0, warp = 0;  // when this block began, and last met; when this thread's warp did
  Stamp warps[32] = {};                    // when they met last
  uintptr_t stack = 0;                     // of this thread
  size_t stack_bytes = 0;
  Region device, shared;
  std::vector<Stamp> blocks = {};  // when those of the launch began
  bool watching = false;           // this one
};
State now;
thread_local constinit bool watched = false;

bool same_thread(Stamp a, Stamp b) { return ((a ^ b) & (kTime - kThread)) == 0; }
bool same_warp(Stamp a, Stamp b) { return ((a ^ b) & (kTime - kWarp)) == 0; }

// Whether something that counts was over before what this thread does now.
bool ordered(Stamp s) {
  if (s < now.block) return false;
  return s < now.barrier || same_thread(s, now.mine) || (s < now.warp && same_warp(s, now.mine));
}

[[noreturn]] void end(Access access, const Region& r, uintptr_t at, const char* what) {
  static const char* const verbs[] = {"reads", "writes", "adds to", "copies to"};
  char text[400];
  std::snprintf(text, sizeof text, "a thread %s byte %zu of %s memory, %s", verbs[int(access)], size_t(at - r.begin),
                &r == &now.shared ? "shared" : "global", what);
  fail(text);
}

[[noreturn]] void end(Access access, const Region& r, uintptr_t at, const char* did, Stamp other) {
  const auto later = std::upper_bound(now.blocks.begin(), now.blocks.end(), other);
  const auto block = unsigned(later - now.blocks.begin() - 1), thread = unsigned(other % kTime / kThread);
  const Index g = here.grid_dim, b = here.block_dim;
  char text[200];
  std::snprintf(text, sizeof text, "which block (%u,%u,%u) thread (%u,%u,%u) %s", block % g.x, block / g.x % g.y,
                block / g.x / g.y, thread % b.x, thread / b.x % b.y, thread / b.x / b.y, did);
  end(access, r, at, text);
}

// Whether somebody has read it at a time that counts, and not before what this thread does now.
inline bool read_by_others(Stamp s, const Region& r) {
  if (s < r.floor || (s >= now.block && s < now.barrier)) return false;
  if (s < now.block || s & kOfOthers || !same_warp(s, now.mine)) return true;
  return s >= now.warp && (s & kOfWarp || !same_thread(s, now.mine));
}

// `at` is in the cell.
template <Access kAccess>
inline void check(Cell& c, const Region& r, uintptr_t at) {
  const Stamp w = c.write;
  if (kAccess == Access::arrival) {
    c.write = now.mine;
    return;
  }
  if (w >= r.floor) {
    if (w & kCopying) end(kAccess, r, at, "is still copying to", w);
    if (!ordered(w) && !(kAccess == Access::atomic && w & kAtomic))
      end(kAccess, r, at, "wrote, and nothing orders the two", w);
  } else if (kAccess == Access::read && &r == &now.shared) {
    end(kAccess, r, at, "which no thread of the block has written");
  }
  if (kAccess == Access::read) {
    if (c.read >= now.barrier && c.read & kOfOthers) return;
    if (!read_by_others(c.read, r))
      c.read = now.mine;
    else if (c.read >= now.block)
      c.read |= same_warp(c.read, now.mine) ? kOfWarp : kOfOthers;
    return;
  }
  if (read_by_others(c.read, r))
    end(kAccess, r, at,
        c.read & (kOfWarp | kOfOthers) ? "and others read, and nothing orders the two"
                                       : "read, and nothing orders the two",
        c.read);
  if (kAccess == Access::atomic && w >= r.floor && !ordered(w)) return;  // readers must wait for the first one, too
  c.write = now.mine | (kAccess == Access::atomic ? kAtomic : 0) | (kAccess == Access::copy ? kCopying : 0);
}

template <Access kAccess>
[[gnu::noinline]] void check_bytes(Region& r, size_t word, uintptr_t from, uintptr_t to) {
  Cell& whole = r.words[word];
  if (whole.write < r.floor || !(whole.write & kSplit)) {
    std::fill_n(r.bytes + word * Region::kWord, Region::kWord, whole);
    whole.write = now.mine | kSplit;
  }
  for (uintptr_t at = from; at < to; ++at) check<kAccess>(r.bytes[at - r.begin], r, at);
}

// In one piece with what calls it, so that whole words of a size that is known there take no loop.
template <Access kAccess>
[[gnu::always_inline]] inline void look(const void* p, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(p), end = begin + bytes;
  if (begin - now.stack < now.stack_bytes) return;
  Region& r = now.device.holds(begin) ? now.device : now.shared;
  if (!r.holds(begin) || !r.holds(end - 1) || (kAccess == Access::copy && &r != &now.shared))
    fail("a thread touches what is neither shared memory nor of the kernel's device");
  const size_t first = (begin - r.begin) / Region::kWord;
  const bool whole = (begin | bytes) % Region::kWord == 0;
  for (size_t i = 0; whole && i < bytes / Region::kWord; ++i) {
    Cell& c = r.words[first + i];
    const uintptr_t at = begin + i * Region::kWord;
    if (c.write < r.floor || !(c.write & kSplit))
      check<kAccess>(c, r, at);
    else
      check_bytes<kAccess>(r, first + i, at, at + Region::kWord);
  }
  for (uintptr_t at = begin; !whole && at < end;) {
    const size_t word = (at - r.begin) / Region::kWord;
    const uintptr_t next = std::min(end, r.begin + (word + 1) * Region::kWord);
    check_bytes<kAccess>(r, word, at, next);
    at = next;
  }
}

template <Access kAccess>
[[gnu::always_inline]] inline void see(const void* p, size_t bytes) {
  if (watched) look<kAccess>(p, bytes);
}

Stamp tick() { return now.time += kTime; }

}  // namespace

void start_launch(std::span<const std::byte> memory) {
  if (!now.device.words) {
    now.device = Region(0, memory.size());
    now.shared = Region(reinterpret_cast<uintptr_t>(__data_start), size_t(_end - __data_start));
  }
  now.device.begin = reinterpret_cast<uintptr_t>(memory.data());
  now.device.floor = tick();
  now.blocks.clear();
}

void start_block() {
  now.block = now.barrier = now.shared.floor = tick();
  now.blocks.push_back(now.block);
  now.watching = now.blocks.size() <= kWatchedBlocks;
}

void barrier() { now.barrier = tick(); }
void warp_barrier(int warp) { now.warps[warp] = tick(); }

void go_on(int thread, const void* stack, size_t bytes) {
  now.mine = now.time + Stamp(thread) * kThread;
  now.warp = now.warps[thread / 32];
  now.stack = reinterpret_cast<uintptr_t>(stack);
  now.stack_bytes = bytes;
}

void enter_kernel() { watched = now.watching; }
void leave_kernel() { watched = false; }

namespace {
template <Access kAccess>
void look_if_watching(const void* p, size_t bytes) {
  if (now.watching) look<kAccess>(p, bytes);
}
}  // namespace

void read(const void* p, size_t bytes) { look_if_watching<Access::read>(p, bytes); }
void start_copy(const void* to, size_t bytes) { look_if_watching<Access::copy>(to, bytes); }
void finish_copy(const void* to, size_t bytes) { look_if_watching<Access::arrival>(to, bytes); }

}  // namespace emulate::watch

void emulate::watch_atomic(void* p, size_t bytes) { watch::see<watch::Access::atomic>(p, bytes); }

// --- what -fsanitize=thread calls -----------------------------------------------------------------------------------

using emulate::watch::Access;

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void*) {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_read_range(void* p, size_t bytes) { emulate::watch::see<Access::read>(p, bytes); }
void __tsan_write_range(void* p, size_t bytes) { emulate::watch::see<Access::write>(p, bytes); }

#define EMULATE_ACCESS(bytes)                                                                 \
  void __tsan_read##bytes(void* p) { emulate::watch::see<Access::read>(p, bytes); }           \
  void __tsan_write##bytes(void* p) { emulate::watch::see<Access::write>(p, bytes); }         \
  void __tsan_unaligned_read##bytes(void* p) { emulate::watch::see<Access::read>(p, bytes); } \
  void __tsan_unaligned_write##bytes(void* p) { emulate::watch::see<Access::write>(p, bytes); }
EMULATE_ACCESS(1)
EMULATE_ACCESS(2)
EMULATE_ACCESS(4)
EMULATE_ACCESS(8)
EMULATE_ACCESS(16)

// The host's own code has atomics, too, and these are all that is left of them.
#define EMULATE_ATOMIC(bits, T)                                                               \
  T __tsan_atomic##bits##_load(T* p, int) {                                                   \
    return emulate::watch_atomic(p, sizeof *p), __atomic_load_n(p, __ATOMIC_SEQ_CST);         \
  }                                                                                           \
  void __tsan_atomic##bits##_store(T* p, T v, int) {                                          \
    emulate::watch_atomic(p, sizeof *p), __atomic_store_n(p, v, __ATOMIC_SEQ_CST);            \
  }                                                                                           \
  T __tsan_atomic##bits##_exchange(T* p, T v, int) {                                          \
    return emulate::watch_atomic(p, sizeof *p), __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);  \
  }                                                                                           \
  T __tsan_atomic##bits##_fetch_add(T* p, T v, int) {                                         \
    return emulate::watch_atomic(p, sizeof *p), __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);   \
  }                                                                                           \
  T __tsan_atomic##bits##_fetch_sub(T* p, T v, int) {                                         \
    return emulate::watch_atomic(p, sizeof *p), __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);   \
  }                                                                                           \
  bool __tsan_atomic##bits##_compare_exchange_strong(T* p, T* old, T v, int, int) {           \
    emulate::watch_atomic(p, sizeof *p);                                                      \
    return __atomic_compare_exchange_n(p, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }                                                                                           \
  bool __tsan_atomic##bits##_compare_exchange_weak(T* p, T* old, T v, int, int) {             \
    emulate::watch_atomic(p, sizeof *p);                                                      \
    return __atomic_compare_exchange_n(p, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
EMULATE_ATOMIC(8, uint8_t)
EMULATE_ATOMIC(32, uint32_t)
EMULATE_ATOMIC(64, uint64_t)
}
