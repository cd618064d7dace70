// The emulator itself: what it runs, and that faults planted in kernels and host code show.
#include "tests/cuda/emulate/emulate.h"

#include <algorithm>
#include <csignal>
#include <numeric>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/fork.h"

using emulate::Order;

namespace {

// Host memory that kernels write to: they run now, in the order of the emulator.
struct Recorded {
  std::vector<int> values;
};

void run(void (*kernel)(Recorded*), Recorded& r, dim3 grid, dim3 block) {
  emulate::run_grid([&] { kernel(&r); }, grid, block);
}

void note_thread(Recorded* r) {
  r->values.push_back(int((blockIdx.x * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x));
}

// Each thread hands its number to the next one through shared memory.
template <bool kBarrier>
void pass_on(Recorded* r) {
  __shared__ int shared[64];
  shared[threadIdx.x] = -1;
  __syncthreads();
  shared[threadIdx.x] = int(threadIdx.x);
  if (kBarrier) __syncthreads();
  r->values[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

}  // namespace

TEST_CASE("every thread of a grid runs once, in the order that is asked for") {
  for (const Order order : {Order::ascending, Order::descending, Order::shuffled}) {
    emulate::set_order(order);
    Recorded r;
    run(note_thread, r, 3, dim3(5, 2));
    std::vector<int> all(30);
    std::iota(all.begin(), all.end(), 0);
    if (order == Order::ascending) CHECK(r.values == all);
    if (order == Order::descending) CHECK(std::vector(r.values.begin(), r.values.begin() + 3) == std::vector{9, 8, 7});
    std::sort(r.values.begin(), r.values.end());
    CHECK(r.values == all);
  }
}

TEST_CASE("a barrier orders what threads write and read, and a forgotten one shows") {
  std::vector<int> want(64);
  for (int i = 0; i < 64; ++i) want[size_t(i)] = (i + 1) % 64;
  int wrong = 0;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    emulate::set_order(Order::shuffled, seed);
    Recorded r{std::vector<int>(64)};
    run(pass_on<true>, r, 1, 64);
    CHECK(r.values == want);
    run(pass_on<false>, r, 1, 64);
    wrong += r.values != want;
  }
  CHECK(wrong == 4);
}

TEST_CASE("threads of a warp exchange values") {
  emulate::set_order(Order::shuffled, 3);
  std::vector<double> sums(96);
  const auto kernel = [&] {
    double v = double(threadIdx.x);
    for (int lanes = 16; lanes > 0; lanes /= 2) v += __shfl_xor_sync(0xffffffffu, v, lanes);
    sums[threadIdx.x] = v;
  };
  emulate::run_grid(kernel, 1, 96);
  for (int i = 0; i < 96; ++i) CHECK(sums[size_t(i)] == 32 * (i / 32 * 32) + 496);
}

TEST_CASE("threads that wait for others which never come end the process") {
  const auto kernel = [] {
    if (threadIdx.x == 0) return;
    if (threadIdx.x == 1) __syncwarp();
    if (threadIdx.x > 1) __syncthreads();
  };
  CHECK(mininn::testing::in_forked_child([&] {
          std::signal(SIGABRT, [](int) { ::_exit(7); });
          emulate::run_grid(kernel, 1, 8);
          return 0;
        }) == 7);
}

TEST_CASE("a launch that no GPU would take is refused") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  void (*const nothing)() = [] {};
  CHECK(emulate::launch(nothing, 1, 1024, stream) == cudaSuccess);
  CHECK(emulate::launch(nothing, 1, 1025, stream) == cudaErrorInvalidConfiguration);
  CHECK(emulate::launch(nothing, 0, 32, stream) == cudaErrorInvalidConfiguration);
  CHECK(emulate::launch(nothing, dim3(1, 65536), 32, stream) == cudaErrorInvalidConfiguration);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}
