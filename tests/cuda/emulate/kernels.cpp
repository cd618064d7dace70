// Grids, blocks, warps and threads as fibers.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  int thread = -1;  // of the block, that runs or waits here
  // Where AddressSanitizer keeps the fiber's variables while another one runs.
  void* fake_stack = nullptr;
};

// Threads that wait for each other.
struct Barrier {
  std::vector<Fiber*> waiting;
  int members = 0;  // that have not ended
};

struct Warp {
  Barrier barrier;
  uint64_t offered[kWarp] = {};
  uint64_t present = 0;  // lanes that have offered
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

 private:
  static void enter() { self().fiber_main(); }

  [[noreturn]] void fiber_main() {
    arrived(nullptr, &scheduler_stack_, &scheduler_bytes_);
    for (;;) {
      while (!unstarted_.empty()) {  // a thread that never waits needs no fiber of its own
        current_->thread = unstarted_.back();
        unstarted_.pop_back();
        set_thread(current_->thread);
        (*body_)();
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

  static void set_thread(int i) {
    const dim3 d = here.block_dim;
    here.thread = dim3(unsigned(i) % d.x, unsigned(i) / d.x % d.y, unsigned(i) / d.x / d.y);
  }

  void go_to(Fiber& f) {
    current_ = &f;
    if (f.thread >= 0) set_thread(f.thread);
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

void shuffle(void* value, size_t bytes, int from) {
  Block& block = Block::self();
  Warp& warp = block.warp();
  const int lane = block.lane();
  std::memcpy(&warp.offered[lane], value, bytes);
  warp.present |= uint64_t{1} << lane;
  block.wait(warp.barrier);
  if (!(warp.present >> from & 1)) fail("a shuffle reads a thread that takes no part in it");
  std::memcpy(value, &warp.offered[from], bytes);
  block.wait(warp.barrier);
  warp.present &= ~(uint64_t{1} << lane);
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
