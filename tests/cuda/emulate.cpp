// The emulator itself: what it runs, and that faults planted in kernels and host code show.
#include "tests/cuda/emulate/emulate.h"

#include <algorithm>
#include <csignal>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/device.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"

using namespace mininn::cuda;
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

namespace {

// a [16, 32] times the transpose of b [8, 32], through asynchronous copies and shared memory; b's rows stand twice.
template <bool kWait>
void product(const uint8_t* a, const int8_t* b, int32_t* d) {
  __shared__ __align__(128) unsigned char left[16 * 32], right[16 * 32];
  const int lane = int(threadIdx.x);
  copy_async<16>(left + lane * 16, a + lane * 16);
  for (int i = 0; i < 4; ++i) copy_async<4>(right + lane * 16 + 4 * i, b + (lane * 16 + 4 * i) % 256);
  close_copy_group();
  if (kWait) wait_for_copies<0>();
  __syncthreads();
  uint32_t x[4], w[4];
  load_matrices(x, left + lane % 16 * 32 + lane / 16 * 16);
  load_matrices(w, right + (lane / 16 * 8 + lane % 8) * 32 + lane / 8 % 2 * 16);
  int32_t sums[4] = {1, 1, 1, 1};
  multiply_u8_s8(sums, x, w[0], w[1]);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
  wait_for_copies<0>();
}

}  // namespace

TEST_CASE("asynchronous copies and matrix instructions do what their comments say, and a forgotten wait shows") {
  alignas(16) uint8_t a[16 * 32];
  alignas(16) int8_t b[8 * 32];
  std::mt19937 random(5);
  for (uint8_t& v : a) v = uint8_t(random() % 256);
  for (int8_t& v : b) v = int8_t(int(random() % 255) - 127);
  std::vector<int32_t> want(16 * 8, 1), got(16 * 8);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < 32; ++k) want[size_t(row * 8 + column)] += a[row * 32 + k] * b[column * 32 + k];
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    emulate::set_order(Order::shuffled, seed);
    emulate::run_grid([&] { product<true>(a, b, got.data()); }, 1, 32);
    CHECK(got == want);
    emulate::run_grid([&] { product<false>(a, b, got.data()); }, 1, 32);
    CHECK(got != want);
  }
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
