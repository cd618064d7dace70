#include "tests/cuda/emulate/watch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/cuda/emulate/clocks.h"
#include "tests/cuda/emulate/emulate.h"

extern "C" char __data_start[], _end[];  // what statics lie between, __shared__ ones among them

namespace emulate::watch {
namespace {

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

// use: a read that leaves no trace. beside: the same past the threads.
enum class Access { read, write, atomic, copy, arrival, bulk_copy, bulk_arrival, use, beside };
constexpr bool only_looks(Access a) { return a == Access::use || a == Access::beside; }
constexpr bool passes_threads(Access a) { return a == Access::bulk_copy || a == Access::beside; }

// Blocks of a launch that are watched, its first ones: all would make the tests several times as long.
constexpr size_t kWatchedBlocks = 16;

// 16 bytes of shared memory that products read: how many that are not over, and when those of each warp were.
struct Chunk {
  int reading = 0;
  Stamp read[kThreads / 32] = {};
};

// Sums of products in a thread's stack.
struct Sums {
  uintptr_t begin, end;
  int products;  // that are not over
  bool fenced;
};

struct State {
  Stamp time = 0, mine = 0;                // now, and of what this thread does
  Stamp block = 0, barrier = 0, warp = 0;  // when this block began, and last met; when this thread's warp did
  Stamp warps[32] = {};                    // when they met last
  uintptr_t stack = 0;                     // of this thread
  size_t stack_bytes = 0;
  Region device, shared;
  std::vector<Stamp> blocks = {};  // when those of the launch began
  bool watching = false;           // this one
  int thread = 0;                  // this one
  // Of blocks that have barriers in shared memory, or products.
  Clocks clocks = {};
  std::vector<Chunk> chunks = {};                                    // of dynamic_shared()
  std::vector<std::vector<Sums>> sums = {};                          // of each thread
  std::unordered_map<const Cell*, std::vector<Stamp>> readers = {};  // where there are several
};
State now;
thread_local constinit bool watched = false;

Stamp tick() { return now.time += kTime; }

Chunk* chunk_of(uintptr_t at) {
  const uintptr_t chunk = (at - reinterpret_cast<uintptr_t>(dynamic_shared())) / 16;
  return chunk < now.chunks.size() ? &now.chunks[chunk] : nullptr;
}

// Whether something that counts was over before what this thread does now.
bool ordered(Stamp s) {
  if (s < now.block) return false;
  if (who(s) < kThreads && (s < now.barrier || same_thread(s, now.mine) || (s < now.warp && same_warp(s, now.mine))))
    return true;
  return now.clocks.running() && now.clocks.knows(now.thread, s);
}

// Whether the thread that wrote has made it known to what passes threads by, and this thread knows of that.
bool fenced(Stamp written) {
  if (who(written) >= kThreads) return true;
  const Stamp fence = now.clocks.running() ? now.clocks.fence_behind(written) : 0;
  return fence != 0 && ordered(fence);
}

[[noreturn]] void end(Access access, const Region& r, uintptr_t at, const char* what) {
  static const char* const verbs[] = {
      "thread reads", "thread writes",          "thread adds to", "thread copies to", "", "thread copies to", "",
      "thread uses",  "product or a copy reads"};
  char text[400];
  std::snprintf(text, sizeof text, "a %s byte %zu of %s memory, %s", verbs[int(access)], size_t(at - r.begin),
                &r == &now.shared ? "shared" : "global", what);
  fail(text);
}

[[noreturn]] void end(Access access, const Region& r, uintptr_t at, const char* did, Stamp other) {
  const auto later = std::upper_bound(now.blocks.begin(), now.blocks.end(), other);
  const auto block = unsigned(later - now.blocks.begin() - 1), thread = unsigned(who(other));
  const Index g = here.grid_dim, b = here.block_dim;
  char text[200];
  if (thread >= kThreads) {
    std::snprintf(text, sizeof text, "which a bulk copy %s", did);
    end(access, r, at, text);
  }
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

constexpr const char *kRead = "read, and nothing orders the two",
                     *kOthersRead = "and others read, and nothing orders the two";

// In a block with clocks, a read and a check of what writes.
void note_read(Cell& c, const Region& r) {
  const bool several = c.read >= r.floor && c.read & kOfOthers;
  if (!several && (c.read < r.floor || ordered(c.read))) {
    c.read = now.mine;
    return;
  }
  auto& readers = now.readers[&c];
  if (!several) readers = {c.read};
  const auto mine = std::find_if(readers.begin(), readers.end(), [](Stamp s) { return same_thread(s, now.mine); });
  mine == readers.end() ? readers.push_back(now.mine) : void(*mine = now.mine);
  c.read = now.mine | kOfOthers;
}
void check_reads(Cell& c, Access access, const Region& r, uintptr_t at) {
  if (c.read >= r.floor && c.read & kOfOthers) {
    for (const Stamp s : now.readers[&c])
      if (!ordered(s)) end(access, r, at, kOthersRead, s);
  } else if (c.read >= r.floor && !ordered(c.read)) {
    end(access, r, at, kRead, c.read);
  }
  c.read = 0;
  const Chunk* const chunk = chunk_of(at);
  if (!chunk) return;
  if (chunk->reading > 0) end(access, r, at, "which a product is still reading");
  for (int warp = 0; warp < int(now.clocks.threads() + 31) / 32; ++warp) {
    const Stamp s = chunk->read[warp];
    if (s >= r.floor && s >= now.barrier && warp != now.thread / 32 && !now.clocks.knows_of_warp(now.thread, warp, s))
      end(access, r, at, "which a product has read, and nothing orders the two");
  }
}

// `at` is in the cell.
template <Access kAccess>
inline void check(Cell& c, const Region& r, uintptr_t at) {
  const Stamp w = c.write;
  const bool clocks = now.clocks.running() && &r == &now.shared;
  if (kAccess == Access::arrival || kAccess == Access::bulk_arrival) {
    c.write = now.mine;
    return;
  }
  if (w >= r.floor) {
    if (w & kCopying) end(kAccess, r, at, "is still copying to", w);
    if (!ordered(w) && !(kAccess == Access::atomic && w & kAtomic))
      end(kAccess, r, at, "wrote, and nothing orders the two", w);
    if (passes_threads(kAccess) && !fenced(w)) end(kAccess, r, at, "wrote without a fence_async_proxy() behind it", w);
  } else if ((kAccess == Access::read || only_looks(kAccess)) && &r == &now.shared) {
    end(kAccess, r, at, "which no thread of the block has written");
  }
  if (only_looks(kAccess)) return;
  if (kAccess == Access::read) {
    if (clocks) return note_read(c, r);
    if (c.read >= now.barrier && c.read & kOfOthers) return;
    if (!read_by_others(c.read, r))
      c.read = now.mine;
    else if (c.read >= now.block)
      c.read |= same_warp(c.read, now.mine) ? kOfWarp : kOfOthers;
    return;
  }
  if (clocks)
    check_reads(c, kAccess, r, at);
  else if (read_by_others(c.read, r))
    end(kAccess, r, at, c.read & (kOfWarp | kOfOthers) ? kOthersRead : kRead, c.read);
  if (kAccess == Access::atomic && w >= r.floor && !ordered(w)) return;  // readers must wait for the first one, too
  c.write = now.mine | (kAccess == Access::atomic ? kAtomic : 0) |
            (kAccess == Access::copy || kAccess == Access::bulk_copy ? kCopying : 0);
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

void look_at_stack(uintptr_t begin, uintptr_t end) {
  if (!now.clocks.running()) return;
  for (Sums& s : now.sums[size_t(now.thread)]) {
    if (end <= s.begin || begin >= s.end) continue;
    if (s.products > 0) fail("a thread touches sums before it has waited for their products");
    s.fenced = false;
  }
}

// In one piece with what calls it, so that whole words of a size that is known there take no loop.
template <Access kAccess>
[[gnu::always_inline]] inline void look(const void* p, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(p), end = begin + bytes;
  if (begin - now.stack < now.stack_bytes) return look_at_stack(begin, end);
  Region& r = now.device.holds(begin) ? now.device : now.shared;
  if (!r.holds(begin) || !r.holds(end - 1) || (kAccess >= Access::copy && &r != &now.shared))
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
  now.clocks.stop();
}

void barrier() {
  now.barrier = tick();
  if (now.clocks.running()) now.clocks.meet(0, now.clocks.threads(), now.time);
}
void warp_barrier(int warp) {
  now.warps[warp] = tick();
  if (now.clocks.running()) now.clocks.meet(size_t(warp) * 32, 32, now.time);
}

void go_on(int thread, const void* stack, size_t bytes) {
  now.thread = thread;
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
void write(const void* p, size_t bytes) { look_if_watching<Access::write>(p, bytes); }

// --- barriers in shared memory, bulk copies, products ---------------------------------------------------------------

namespace {
// What this thread does from now on is later than what it did.
Stamp go_on_later() {
  const Stamp t = tick();
  now.mine = t + Stamp(now.thread) * kThread;
  return t;
}
}  // namespace

void start_clocks(int threads) {
  if (!now.watching || now.clocks.running()) return;
  now.clocks.start(threads);
  now.chunks.resize(kDynamicShared / 16);
  now.sums.assign(size_t(threads), {});
  now.readers.clear();
}
void release(int barrier) {
  if (now.clocks.running()) now.clocks.release(now.thread, barrier, go_on_later());
}
void end_phase(int barrier) {
  if (now.clocks.running()) now.clocks.end_phase(barrier, tick());
}
void acquire(int barrier) {
  if (now.clocks.running()) now.clocks.acquire(now.thread, barrier);
}
void use(const void* barrier) { look_if_watching<Access::use>(barrier, 8); }
void use_beside(const void* barrier) { look_if_watching<Access::beside>(barrier, 8); }

void fence_async_proxy() {
  if (now.clocks.running()) now.clocks.fence(now.thread, go_on_later());
}
void start_bulk_copy(const void* to, size_t bytes) { look_if_watching<Access::bulk_copy>(to, bytes); }
void finish_bulk_copy(const void* to, size_t bytes, int barrier) {
  const Stamp mine = std::exchange(now.mine, now.time + Stamp(kThreads + barrier) * kThread);
  look_if_watching<Access::bulk_arrival>(to, bytes);
  now.mine = mine;
}

void start_product_read(const void* p) {
  if (!now.clocks.running()) return;
  look_if_watching<Access::beside>(p, 16);
  ++chunk_of(reinterpret_cast<uintptr_t>(p))->reading;
}
void finish_product_read(const void* p, int warp) {
  if (!now.clocks.running()) return;
  Chunk& c = *chunk_of(reinterpret_cast<uintptr_t>(p));
  --c.reading;
  c.read[warp] = now.time;
}

void fence_sums(const void* sums, size_t bytes) {
  if (!now.clocks.running()) return;
  const auto begin = reinterpret_cast<uintptr_t>(sums);
  auto& known = now.sums[size_t(now.thread)];
  const auto found = std::find_if(known.begin(), known.end(), [&](const Sums& s) { return s.begin == begin; });
  if (found == known.end())
    known.push_back({begin, begin + bytes, 0, true});
  else
    found->fenced = true;
}
void start_sums(const void* sums) {
  if (!now.clocks.running()) return;
  for (Sums& s : now.sums[size_t(now.thread)])
    if (s.begin == reinterpret_cast<uintptr_t>(sums) && s.fenced) {
      ++s.products;
      return;
    }
  fail("a product adds to sums that were touched without a fence_products() behind it");
}
void finish_sums(const void* sums, int thread) {
  if (!now.clocks.running()) return;
  for (Sums& s : now.sums[size_t(thread)])
    if (s.begin == reinterpret_cast<uintptr_t>(sums)) --s.products;
}

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
