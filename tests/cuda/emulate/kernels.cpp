// Grids, blocks, warps and threads as fibers.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "tests/cuda/emulate/emulate.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

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

Here here;

namespace {

constexpr size_t kStack = size_t{256} << 10;
constexpr int kWarp = 32;

Order order = Order::shuffled;
std::mt19937 chance(1);

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulate: %s: block (%u,%u,%u) thread (%u,%u,%u)\n", what, here.block.x, here.block.y,
               here.block.z, here.thread.x, here.thread.y, here.thread.z);
  std::abort();
}

// A copy that has not arrived.
struct Copy {
  void* to;
  const void* from;
  int bytes, group;
};

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  int thread = -1;     // of the block, that runs or waits here
  dim3 place;          // of the thread
  int group = 0;       // of the thread's copies, that is open
  unsigned steps = 0;  // that the thread has done together with its warp
  std::deque<Copy> copies = {};
  // Where AddressSanitizer keeps the fiber's variables while another one runs.
  void* fake_stack = nullptr;
};

// Threads that wait for each other.
struct Barrier {
  std::vector<Fiber*> waiting;
  int members = 0;  // that have not ended
};

// What its threads bring to what they do together. There are two places for it, in turns: a thread that is ahead by one
// such step does not yet write where another one may still read.
struct Warp {
  struct Lane {
    uint64_t value = 0;             // of a shuffle, or an address
    uint32_t a[4] = {}, b[2] = {};  // of a matrix product
  };
  Barrier barrier;
  Lane lanes[2][kWarp];
};

class Block {
 public:
  static Block& self() {
    static auto* const block = new Block;  // fibers may outlive every static
    return *block;
  }

  void run(const std::function<void()>& thread, dim3 size) {
    body_ = &thread;
    threads_ = int(size.x * size.y * size.z);
    unstarted_.resize(size_t(threads_));
    for (int i = 0; i < threads_; ++i) unstarted_[size_t(i)] = order == Order::ascending ? threads_ - 1 - i : i;
    if (order == Order::shuffled) std::shuffle(unstarted_.begin(), unstarted_.end(), chance);
    all_.members = threads_;
    warps_.assign(size_t(threads_ + kWarp - 1) / kWarp, {});
    for (int i = 0; i < threads_; ++i) ++warps_[size_t(i / kWarp)].barrier.members;
    while (!unstarted_.empty() || !ready_.empty()) {
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
  }

  void wait(Barrier& b) {
    b.waiting.push_back(current_);
    if (int(b.waiting.size()) == b.members) open(b);
    back_to_scheduler();
  }
  Barrier& all() { return all_; }
  Warp& warp() { return warps_[size_t(current_->thread / kWarp)]; }
  int lane() const { return current_->thread % kWarp; }
  Fiber& current() { return *current_; }

 private:
  static void enter() { self().fiber_main(); }

  [[noreturn]] void fiber_main() {
    arrived(nullptr, &scheduler_stack_, &scheduler_bytes_);
    for (;;) {
      while (!unstarted_.empty()) {  // a thread that never waits needs no fiber of its own
        current_->thread = unstarted_.back();
        unstarted_.pop_back();
        here.thread = current_->place = place_of(unsigned(current_->thread));
        current_->group = 0;
        current_->steps = 0;
        (*body_)();
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
    ready_.insert(ready_.end(), b.waiting.begin(), b.waiting.end());
    b.waiting.clear();
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
    void* const p = ::mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail("no memory for the stack of a thread");
    f->stack = static_cast<char*>(p);
    // As emulate_switch() leaves a stack: six registers, where to return to, and nothing to return to from there.
    void** top = reinterpret_cast<void**>(f->stack + kStack - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&enter);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f->stack_pointer = top;
    fibers_.push_back(std::move(f));
    return fibers_.back().get();
  }

  static dim3 place_of(unsigned i) {
    const dim3 d = here.block_dim;
    return {i % d.x, i / d.x % d.y, i / d.x / d.y};
  }

  void go_to(Fiber& f) {
    current_ = &f;
    here.thread = f.place;
    leaving(&fake_stack_, f.stack, kStack);
    emulate_switch(&stack_pointer_, f.stack_pointer);
    arrived(fake_stack_);
  }
  void back_to_scheduler() {
    Fiber& f = *current_;
    leaving(&f.fake_stack, scheduler_stack_, scheduler_bytes_);
    emulate_switch(&f.stack_pointer, stack_pointer_);
    arrived(f.fake_stack, &scheduler_stack_, &scheduler_bytes_);
  }

  void leaving([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#endif
  }
  void arrived([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** from = nullptr,
               [[maybe_unused]] size_t* from_bytes = nullptr) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, from, from_bytes);
#endif
  }

  const std::function<void()>* body_ = nullptr;
  int threads_ = 0;
  std::vector<int> unstarted_;
  std::vector<Fiber*> ready_, idle_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Barrier all_;
  std::vector<Warp> warps_;
  Fiber* current_ = nullptr;
  void* stack_pointer_ = nullptr;  // the scheduler's
  void* fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_bytes_ = 0;
};

}  // namespace

void set_order(Order o, uint32_t seed) {
  order = o;
  chance.seed(seed);
}

void run_grid(const std::function<void()>& thread, dim3 grid, dim3 block) {
  here.grid_dim = grid;
  here.block_dim = block;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        here.block = dim3(x, y, z);
        Block::self().run(thread, block);
      }
}

int lane() { return Block::self().lane(); }

namespace {

// Brings `mine` to the threads of the warp, none of which has ended, and returns what all have brought.
const Warp::Lane* together(const Warp::Lane& mine) {
  Block& block = Block::self();
  Warp& warp = block.warp();
  if (warp.barrier.members != kWarp) fail("an instruction of a whole warp in one that has less than 32 threads left");
  const int lane = block.lane();
  const unsigned turn = block.current().steps++ % 2;
  warp.lanes[turn][lane] = mine;
  block.wait(warp.barrier);
  return warp.lanes[turn];
}

}  // namespace

void shuffle(void* value, size_t bytes, int from) {
  Warp::Lane mine;
  std::memcpy(&mine.value, value, bytes);
  const Warp::Lane* const all = together(mine);
  std::memcpy(value, &all[from].value, bytes);
}

void copy_async(void* shared, const void* global, int bytes) {
  const auto aligned = [&](const void* p) { return std::bit_cast<uintptr_t>(p) % unsigned(bytes) == 0; };
  if (!aligned(shared) || !aligned(global)) fail("the address of an asynchronous copy is no multiple of its bytes");
  Fiber& f = Block::self().current();
  std::memset(shared, 0xff, size_t(bytes));  // whoever reads it now reads what nobody wrote
  if (chance() % 2)
    std::memcpy(shared, global, size_t(bytes));
  else
    f.copies.push_back({shared, global, bytes, f.group});
}

void close_copy_group() { ++Block::self().current().group; }

void wait_for_copies(int left) {
  Fiber& f = Block::self().current();
  for (; !f.copies.empty() && f.copies.front().group < f.group - left; f.copies.pop_front()) {
    const Copy& c = f.copies.front();
    std::memcpy(c.to, c.from, size_t(c.bytes));
  }
}

namespace {

// The rows of the four matrices whose addresses the lanes bring.
struct Matrices {
  const Warp::Lane* addresses;
  const char* row(int matrix, int r) const {
    return std::bit_cast<const char*>(uintptr_t(addresses[8 * matrix + r].value));
  }
};
Matrices matrices_at(const void* row) {
  if (std::bit_cast<uintptr_t>(row) % 16 != 0) fail("the address of a matrix's row is no multiple of 16");
  return {together({.value = std::bit_cast<uintptr_t>(row)})};
}

// d[i] = term(d[i], a, b) over the elements of k in their order, for a and b as four bytes of k each.
template <class D, class Term>
void multiply(D (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const Term& term) {
  const Warp::Lane* const all = together({.a = {a[0], a[1], a[2], a[3]}, .b = {b0, b1}});
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4, column = lane % 4 * 2 + i % 2;
    for (int half = 0; half < 2; ++half)
      for (int t = 0; t < 4; ++t) d[i] = term(d[i], all[row * 4 + t].a[half * 2 + i / 2], all[column * 4 + t].b[half]);
  }
}

}  // namespace

void load_matrices(uint32_t (&to)[4], const void* row) {
  const Matrices m = matrices_at(row);
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) std::memcpy(&to[i], m.row(i, lane / 4) + lane % 4 * 4, 4);
}

void load_transposed(uint32_t (&to)[4], const void* row) {
  const Matrices m = matrices_at(row);
  const int lane = Block::self().lane();
  for (int i = 0; i < 4; ++i) {
    uint16_t two[2];
    for (int r = 0; r < 2; ++r) std::memcpy(&two[r], m.row(i, lane % 4 * 2 + r) + lane / 4 * 2, 2);
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
  auto& block = emulate::Block::self();
  block.wait(block.all());
}

void __syncwarp(unsigned) {
  auto& block = emulate::Block::self();
  block.wait(block.warp().barrier);
}
