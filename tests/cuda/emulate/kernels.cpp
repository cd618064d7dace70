// Grids, blocks, warps and threads as fibers.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "tests/cuda/emulate/emulate.h"
#include "tests/cuda/emulate/fibers.h"
#include "tests/cuda/emulate/watch.h"

#ifndef __x86_64__
#error "the emulator changes fibers in the machine code of x86-64"
#endif

// Saves what a call keeps (System V ABI), puts the stack pointer into *save and goes on at the one in `load`.
extern "C" void emulate_switch(void** save, void* load);
asm(R"(.text
.globl emulate_switch
emulate_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace emulate {

Here running __asm__("emulate_here");  // what kernels know as `here`, which changes between them

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulate: %s: block (%u,%u,%u) thread (%u,%u,%u)\n", what, running.block.x, running.block.y,
               running.block.z, running.thread.x, running.thread.y, running.thread.z);
  std::abort();
}

namespace {

constexpr size_t kStack = size_t{256} << 10, kGuard = 4096;  // bytes; below a stack is what nobody may touch
Order order = Order::shuffled;
Pace pace = Pace::drawn;
std::mt19937 chance(1);

// A copy that nobody has waited for.
struct Copy {
  void* to;
  const void* from;
  int bytes, group;
  bool late;  // it has not arrived
};

}  // namespace

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  int thread = -1;     // of the block, that runs or waits here
  Index place;         // of the thread
  int group = 0;       // of the thread's copies, that is open
  unsigned steps = 0;  // that the thread has done together with its warp
  std::deque<Copy> copies = {};
};

namespace {

// Threads that wait for each other.
struct Barrier {
  std::vector<Fiber*> waiting;
  int members = 0;      // that have not ended
  bool orders = false;  // what they do to memory
};

// What its threads bring to what they do together. There are two places for it, in turns: a thread that is ahead by one
// such step does not yet write where another one may still read.
struct Warp {
  Barrier barrier;
  Lane lanes[2][kWarp];
};

class Block {
 public:
  static Block& self() {
    static auto* const block = new Block;  // fibers may outlive every static
    return *block;
  }

  void run(void (*thread)(const void*), const void* it, dim3 size) {
    thread_ = thread;
    it_ = it;
    threads_ = int(size.x * size.y * size.z);
    unstarted_.resize(size_t(threads_));
    for (int i = 0; i < threads_; ++i) unstarted_[size_t(i)] = order == Order::ascending ? threads_ - 1 - i : i;
    if (order == Order::shuffled) std::shuffle(unstarted_.begin(), unstarted_.end(), chance);
    all_.members = threads_;
    warps_.assign(size_t(threads_ + kWarp - 1) / kWarp, {});
    for (int i = 0; i < threads_; ++i) ++warps_[size_t(i / kWarp)].barrier.members;
    start_copies();
    start_products(threads_);
    while (!unstarted_.empty() || !ready_.empty() || copies_left()) {
      const bool idle = unstarted_.empty() && ready_.empty();
      if (copies_left() && (idle || chance() % 8 == 0)) {
        finish_a_copy();
        continue;
      }
      Fiber* next = nullptr;
      if (!ready_.empty() && (unstarted_.empty() || (order == Order::shuffled && chance() % 2))) {
        next = take_ready();
      } else {
        if (idle_.empty()) idle_.push_back(make_fiber());
        next = idle_.back();
        idle_.pop_back();
      }
      go_to(*next);
    }
    if (all_.members > 0) fail("threads wait that nobody lets go on; this was the last that ran");
    end_copies();
    end_products();
  }

  void wait(Barrier& b, bool orders) {
    b.waiting.push_back(current_);
    b.orders = orders;
    if (int(b.waiting.size()) == b.members) open(b);
    back_to_scheduler();
    go_on();
  }
  void park(Parked& parked) {
    parked.push_back(current_);
    back_to_scheduler();
    go_on();
  }
  void let_go_on(Parked& parked) {
    ready_.insert(ready_.end(), parked.begin(), parked.end());
    parked.clear();
  }
  int threads() const { return threads_; }
  Barrier& all() { return all_; }
  Warp& warp() { return warps_[size_t(current_->thread / kWarp)]; }
  int lane() const { return current_->thread % kWarp; }
  Fiber& current() { return *current_; }

 private:
  static void enter() { self().fiber_main(); }

  [[noreturn]] void fiber_main() {
    for (;;) {
      while (!unstarted_.empty()) {  // a thread that never waits needs no fiber of its own
        current_->thread = unstarted_.back();
        unstarted_.pop_back();
        current_->place = place_of(unsigned(current_->thread));
        current_->group = 0;
        current_->steps = 0;
        go_on();
        watch::enter_kernel();
        thread_(it_);
        watch::leave_kernel();
        if (!current_->copies.empty()) fail("a thread ends before its copies have arrived");
        ended(all_);
        ended(warps_[size_t(current_->thread / kWarp)].barrier);
      }
      idle_.push_back(current_);
      back_to_scheduler();
    }
  }

  void ended(Barrier& b) {
    --b.members;
    if (b.members > 0 && int(b.waiting.size()) == b.members) open(b);
  }
  void open(Barrier& b) {
    if (b.orders) &b == &all_ ? watch::barrier() : watch::warp_barrier(current_->thread / kWarp);
    let_go_on(b.waiting);
  }

  Fiber* take_ready() {
    const size_t at = order == Order::ascending    ? 0
                      : order == Order::descending ? ready_.size() - 1
                                                   : chance() % ready_.size();
    std::swap(ready_[at], ready_.back());
    Fiber* const f = ready_.back();
    ready_.pop_back();
    return f;
  }

  Fiber* make_fiber() {
    auto f = std::make_unique<Fiber>();
    void* const p = ::mmap(nullptr, kGuard + kStack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail("no memory for the stack of a thread");
    f->stack = static_cast<char*>(p) + kGuard;
    if (::mprotect(f->stack, kStack, PROT_READ | PROT_WRITE) != 0) fail("no memory for the stack of a thread");
    // As emulate_switch() leaves a stack: six registers, where to return to, and nothing to return to from there.
    void** top = reinterpret_cast<void**>(f->stack + kStack - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&enter);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f->stack_pointer = top;
    fibers_.push_back(std::move(f));
    return fibers_.back().get();
  }

  static Index place_of(unsigned i) {
    const Index d = running.block_dim;
    return {i % d.x, i / d.x % d.y, i / d.x / d.y};
  }

  // What kernels and those who watch them know of the fiber that runs.
  void go_on() {
    running.thread = current_->place;
    watch::go_on(current_->thread, current_->stack, kStack);
  }
  void go_to(Fiber& f) {
    current_ = &f;
    emulate_switch(&stack_pointer_, f.stack_pointer);
  }
  void back_to_scheduler() { emulate_switch(&current_->stack_pointer, stack_pointer_); }

  void (*thread_)(const void*) = nullptr;
  const void* it_ = nullptr;
  int threads_ = 0;
  std::vector<int> unstarted_;
  std::vector<Fiber*> ready_, idle_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Barrier all_;
  std::vector<Warp> warps_;
  Fiber* current_ = nullptr;
  void* stack_pointer_ = nullptr;  // the scheduler's
};

}  // namespace

void set_order(Order o, uint32_t seed) {
  order = o;
  chance.seed(seed);
}
void set_pace(Pace p) { pace = p; }

namespace {
alignas(1024) unsigned char dynamic[kDynamicShared];  // a static, as all shared memory
size_t dynamic_bytes = 0;                             // what the launch has asked for
constexpr uint32_t kDynamicBegin = 1024;              // as instructions call it
}  // namespace

unsigned char* dynamic_shared() { return dynamic; }
uint32_t shared_address(const void* shared) {
  const watch::Outside outside;
  return address_of(shared);
}
uint32_t address_of(const void* shared) {
  const size_t offset = size_t(static_cast<const unsigned char*>(shared) - dynamic);
  if (offset >= dynamic_bytes) fail("products and copies of images work on the shared memory that a launch asks for");
  return kDynamicBegin + uint32_t(offset);
}
unsigned char* shared_at(uint32_t address, size_t bytes) {
  const size_t offset = address - kDynamicBegin;
  if (offset > dynamic_bytes || dynamic_bytes - offset < bytes)
    fail("an address beyond the shared memory of the launch");
  return dynamic + offset;
}

void run_grid(void (*thread)(const void*), const void* it, dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
  dynamic_bytes = shared;
  running.grid_dim = {grid.x, grid.y, grid.z};
  running.block_dim = {block.x, block.y, block.z};
  watch::start_launch(memory_of(stream));
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        running.block = {x, y, z};
        watch::start_block();
        Block::self().run(thread, it, block);
      }
}

int lane() {
  const watch::Outside outside;
  return Block::self().lane();
}

void park(Parked& parked) { Block::self().park(parked); }
void let_go_on(Parked& parked) { Block::self().let_go_on(parked); }
int thread() { return Block::self().current().thread; }
int threads_of_block() { return Block::self().threads(); }
size_t draw(size_t cases) { return chance() % cases; }
bool is_late() { return pace == Pace::drawn ? draw(2) != 0 : pace == Pace::late; }

const Lane* together(const Lane& mine) {
  Block& block = Block::self();
  Warp& warp = block.warp();
  if (warp.barrier.members != kWarp) fail("an instruction of a whole warp in one that has less than 32 threads left");
  const int lane = block.lane();
  const unsigned turn = block.current().steps++ % 2;
  warp.lanes[turn][lane] = mine;
  block.wait(warp.barrier, false);
  return warp.lanes[turn];
}

void shuffle(void* value, size_t bytes, int from) {
  const watch::Outside outside;
  Lane mine;
  std::memcpy(&mine.value, value, bytes);
  const Lane* const all = together(mine);
  std::memcpy(value, &all[from].value, bytes);
}

void copy_async(void* shared, const void* global, int bytes) {
  const watch::Outside outside;
  const auto aligned = [&](const void* p) { return std::bit_cast<uintptr_t>(p) % unsigned(bytes) == 0; };
  if (!aligned(shared) || !aligned(global)) fail("the address of an asynchronous copy is no multiple of its bytes");
  watch::read(global, size_t(bytes));
  watch::start_copy(shared, size_t(bytes));
  Fiber& f = Block::self().current();
  std::memset(shared, 0xff, size_t(bytes));  // whoever reads it now reads what nobody wrote
  const bool late = is_late();
  if (!late) std::memcpy(shared, global, size_t(bytes));
  f.copies.push_back({shared, global, bytes, f.group, late});
}

void close_copy_group() {
  const watch::Outside outside;
  ++Block::self().current().group;
}

void wait_for_copies(int left) {
  const watch::Outside outside;
  Fiber& f = Block::self().current();
  for (; !f.copies.empty() && f.copies.front().group < f.group - left; f.copies.pop_front()) {
    const Copy& c = f.copies.front();
    watch::read(c.from, size_t(c.bytes));
    watch::finish_copy(c.to, size_t(c.bytes));
    if (c.late) std::memcpy(c.to, c.from, size_t(c.bytes));
  }
}

namespace {

MatrixLoads loads;

// Of eight rows of 16 bytes: a bank has 4 of each 128, so a row takes the four banks of its place in 128.
uint64_t conflicts_of(const Lane* rows) {
  uint64_t n = 0;
  for (int i = 0; i < 8; ++i)
    n += std::any_of(rows, rows + i, [&](const Lane& r) {
      return r.value != rows[i].value && r.value / 16 % 8 == rows[i].value / 16 % 8;
    });
  return n;
}

// The rows of the four matrices whose addresses the lanes bring.
struct Matrices {
  const Lane* addresses;
  void read(void* to, int matrix, int row, int at, int bytes) const {
    const char* const from = std::bit_cast<const char*>(uintptr_t(addresses[8 * matrix + row].value)) + at;
    watch::read(from, size_t(bytes));
    std::memcpy(to, from, size_t(bytes));
  }
};
Matrices matrices_at(const void* row) {
  if (std::bit_cast<uintptr_t>(row) % 16 != 0) fail("the address of a matrix's row is no multiple of 16");
  const Lane* const all = together({.value = std::bit_cast<uintptr_t>(row)});
  if (Block::self().lane() == 0) {
    loads.matrices += 4;
    for (int i = 0; i < 4; ++i) loads.conflicts += conflicts_of(all + 8 * i);
  }
  return {all};
}

// d[i] = term(d[i], a, b) over the elements of k in their order, for a and b as four bytes of k each.
template <class D, class Term>
void multiply(D (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const Term& term) {
  const watch::Outside outside;
  const Lane* const all = together({.a = {a[0], a[1], a[2], a[3]}, .b = {b0, b1}});
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (int half = 0; half < 2; ++half)
      for (int t = 0; t < 4; ++t) d[i] = term(d[i], all[row * 4 + t].a[half * 2 + i / 2], all[column * 4 + t].b[half]);
  }
}

}  // namespace

MatrixLoads matrix_loads() { return loads; }

void load_matrices(uint32_t (&to)[4], const void* row) {
  const watch::Outside outside;
  const Matrices m = matrices_at(row);
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) m.read(&to[i], i, lane / 4, lane % 4 * 4, 4);
}

void load_transposed(uint32_t (&to)[4], const void* row) {
  const watch::Outside outside;
  const Matrices m = matrices_at(row);
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) {
    uint16_t two[2];
    for (int r = 0; r < 2; ++r) m.read(&two[r], i, lane % 4 * 2 + r, lane / 4 * 2, 2);
    std::memcpy(&to[i], two, 4);
  }
}

void multiply_u8_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply(d, a, b0, b1, [](int32_t sum, uint32_t left, uint32_t right) {
    for (int byte = 0; byte < 4; ++byte)
      sum = int32_t(uint32_t(sum) + uint32_t(int32_t(uint8_t(left >> 8 * byte)) * int32_t(int8_t(right >> 8 * byte))));
    return sum;
  });
}

void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply(d, a, b0, b1, [](float sum, uint32_t left, uint32_t right) {
    const auto low = [](uint32_t two) { return std::bit_cast<float>(two << 16); };
    const auto high = [](uint32_t two) { return std::bit_cast<float>(two & 0xffff0000); };
    return sum + low(left) * low(right) + high(left) * high(right);
  });
}

}  // namespace emulate

void __syncthreads() {
  const emulate::watch::Outside outside;
  auto& block = emulate::Block::self();
  block.wait(block.all(), true);
}

void __syncwarp(unsigned) {
  const emulate::watch::Outside outside;
  auto& block = emulate::Block::self();
  block.wait(block.warp().barrier, true);
}
