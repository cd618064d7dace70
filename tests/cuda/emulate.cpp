// The emulator itself: what it runs, and that faults planted in the use of it show.
#include "tests/cuda/emulate/emulate.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "cuda/device.h"
#include "ops/conv2d.h"
#include "ops/qconv2d.h"
#include "ops/quantize.h"
#include "tests/cuda/on_device.h"
#include "tests/support/random_tensors.h"

using namespace mininn::cuda;
using Catch::Contains;
using emulate::last_words, emulate::run, emulate::stream_on, emulate::matrix_loads, emulate::MatrixLoads;
using emulate::OnDevice, emulate::Order, emulate::set_order;

namespace {

// values[0] counts the threads that have run, behind it are their numbers.
void note_thread(int* values) {
  const int thread = int((blockIdx.x * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x);
  values[1 + atomicAdd(values, 1)] = thread;
}

// Each thread hands its number to the next one through shared memory.
void pass_on(int* to) {
  __shared__ int shared[64];
  shared[threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  to[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

void sum_of_warp(double* sums) {
  double v = double(threadIdx.x);
  for (int lanes = 16; lanes > 0; lanes /= 2) v += __shfl_xor_sync(0xffffffffu, v, lanes);
  sums[threadIdx.x] = v;
}

}  // namespace

TEST_CASE("every thread of a grid runs once, in the order that is asked for") {
  for (const Order order : {Order::ascending, Order::descending, Order::shuffled}) {
    set_order(order);
    const OnDevice<int> noted(31);
    run(note_thread, 3, dim3(5, 2), noted.data());
    std::vector<int> values = noted.values(), all(30);
    CHECK(values[0] == 30);
    values.erase(values.begin());
    std::iota(all.begin(), all.end(), 0);
    if (order == Order::ascending) CHECK(values == all);
    if (order == Order::descending) CHECK(std::vector(values.begin(), values.begin() + 3) == std::vector{9, 8, 7});
    std::sort(values.begin(), values.end());
    CHECK(values == all);
  }
}

TEST_CASE("a barrier orders what threads write and read") {
  std::vector<int> want(64);
  for (int i = 0; i < 64; ++i) want[size_t(i)] = (i + 1) % 64;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    set_order(Order::shuffled, seed);
    const OnDevice<int> to(64);
    run(pass_on, 1, 64, to.data());
    CHECK(to.values() == want);
  }
}

TEST_CASE("threads of a warp exchange values") {
  set_order(Order::shuffled, 3);
  const OnDevice<double> sums(96);
  run(sum_of_warp, 1, 96, sums.data());
  for (int i = 0; i < 96; ++i) CHECK(sums.values()[size_t(i)] == 32 * (i / 32 * 32) + 496);
}

namespace {

// a [16, 32] times the transpose of b [8, 32], through asynchronous copies and shared memory; b's rows stand twice.
void product(const uint8_t* a, const int8_t* b, int32_t* d) {
  __shared__ __align__(128) unsigned char left[16 * 32], right[16 * 32];
  const int lane = int(threadIdx.x);
  copy_async<16>(left + lane * 16, a + lane * 16);
  for (int i = 0; i < 4; ++i) copy_async<4>(right + lane * 16 + 4 * i, b + (lane * 16 + 4 * i) % 256);
  close_copy_group();
  wait_for_copies<0>();
  __syncthreads();
  uint32_t x[4], w[4];
  load_matrices(x, left + lane % 16 * 32 + lane / 16 * 16);
  load_matrices(w, right + (lane / 16 * 8 + lane % 8) * 32 + lane / 8 % 2 * 16);
  int32_t sums[4] = {1, 1, 1, 1};
  multiply_u8_s8(sums, x, w[0], w[1]);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

}  // namespace

TEST_CASE("asynchronous copies and matrix instructions do what their comments say") {
  std::vector<uint8_t> a(16 * 32);
  std::vector<int8_t> b(8 * 32);
  std::mt19937 random(5);
  for (uint8_t& v : a) v = uint8_t(random() % 256);
  for (int8_t& v : b) v = int8_t(int(random() % 255) - 127);
  std::vector<int32_t> want(16 * 8, 1);
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column)
      for (size_t k = 0; k < 32; ++k) want[row * 8 + column] += a[row * 32 + k] * b[column * 32 + k];
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    set_order(Order::shuffled, seed);
    const OnDevice<uint8_t> left(a);
    const OnDevice<int8_t> right(b);
    const OnDevice<int32_t> got(16 * 8);
    run(product, 1, 32, left.data(), right.data(), got.data());
    CHECK(got.values() == want);
  }
}

namespace {

// Rows of four matrices, this many bytes apart.
template <int kApart>
void load_rows(uint32_t* to) {
  __shared__ __align__(128) unsigned char rows[31 * kApart + 16];
  for (unsigned i = threadIdx.x; i < sizeof rows; i += 32) rows[i] = 0;
  __syncwarp();
  uint32_t x[4];
  load_matrices(x, rows + threadIdx.x * kApart);
  to[threadIdx.x] = x[0];
}

uint64_t conflicts_of(void (*kernel)(uint32_t*)) {
  const OnDevice<uint32_t> to(32);
  const uint64_t before = matrix_loads().conflicts;
  run(kernel, 1, 32, to.data());
  return matrix_loads().conflicts - before;
}

}  // namespace

TEST_CASE("rows of a matrix that meet in a bank are counted") {
  CHECK(conflicts_of(load_rows<0>) == 0);  // of one address
  CHECK(conflicts_of(load_rows<16>) == 0);
  CHECK(conflicts_of(load_rows<80>) == 0);
  CHECK(conflicts_of(load_rows<32>) == 4 * 4);
  CHECK(conflicts_of(load_rows<64>) == 4 * 6);
  CHECK(conflicts_of(load_rows<128>) == 4 * 7);
}

TEST_CASE("no rows meet in a bank where an int8 convolution loads its matrices") {
  using namespace mininn;
  const Device device = Device::cuda(0);
  const Tensor x = quantize(testing::RandomTensors(4).tensor({1, 64, 12, 12}), {0.02f, 120}).to(device);
  const Tensor w = Tensor::full({64, 64, 3, 3}, 3, DType::i8).to(device), scale = Tensor::full({64}, 0.01).to(device);
  const Tensor bias = Tensor::zeros({1, 64}, DType::i32).to(device);
  const ForceKernel mma("qconv2d", "own.mma");
  const MatrixLoads before = matrix_loads();
  synchronize(current_stream(qconv2d(x, w, scale, bias, {}, {.conv = {.padding = 1}, .y = {0.1f, 100}}).device()));
  CHECK(matrix_loads().matrices > before.matrices);
  CHECK(matrix_loads().conflicts == before.conflicts);
}

TEST_CASE("no rows meet in a bank where a bf16 convolution and its gradients load their matrices") {
  using namespace mininn;
  const Device d = Device::cuda();
  Tensor x = Tensor::full({2, 24, 9, 9}, 0.5, DType::bf16, d), w = Tensor::full({40, 24, 3, 3}, 0.25, DType::f32, d);
  x.set_requires_grad(true), w.set_requires_grad(true);
  const ForceKernel mma("conv2d_fwd", "own.mma");
  const MatrixLoads before = matrix_loads();
  const Tensor y = conv2d(x, w, {}, {.stride = 2, .padding = 1});
  synchronize(current_stream(d));
  const MatrixLoads forward = matrix_loads();
  CHECK(forward.matrices > before.matrices);
  y.backward(Tensor::full(y.shape(), 1, DType::bf16, d));
  synchronize(current_stream(d));
  CHECK(matrix_loads().matrices > forward.matrices);
  CHECK(matrix_loads().conflicts == before.conflicts);
}

namespace {

void wait_apart() {
  if (threadIdx.x == 0) return;
  if (threadIdx.x == 1) __syncwarp();
  if (threadIdx.x > 1) __syncthreads();
}

[[gnu::noinline]] int needs_stack(int kib) {
  volatile char taken[1024];
  taken[0] = 1;
  return (kib > 0 ? needs_stack(kib - 1) : 0) + taken[0];
}
void overflow(int* to) {
  __syncthreads();  // each thread has its own stack, and one lies beyond the other
  to[threadIdx.x] = needs_stack(300);
}

}  // namespace

TEST_CASE("threads that wait for others which never come end the process") {
  CHECK_THAT(last_words([] { run(wait_apart, 1, 8); }), Contains("threads wait that nobody lets go on"));
}

TEST_CASE("a thread that needs more than its stack ends the process") {
  const OnDevice<int> to(4);
  CHECK(mininn::testing::in_forked_child([&] {
          static char handlers_stack[1 << 16];
          const stack_t alternative{.ss_sp = handlers_stack, .ss_flags = 0, .ss_size = sizeof handlers_stack};
          struct sigaction action = {};
          action.sa_handler = [](int) { ::_exit(7); };
          action.sa_flags = SA_ONSTACK;
          if (::sigaltstack(&alternative, nullptr) != 0 || ::sigaction(SIGSEGV, &action, nullptr) != 0) return 1;
          run(overflow, 1, 4, to.data());
          return 0;
        }) == 7);
}

TEST_CASE("each host thread has a current device and an error of its own") {
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  std::thread([] {
    CHECK(cudaSetDevice(0) == cudaSuccess);
    CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  }).join();
  CHECK(cudaGetLastError() == cudaSuccess);
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  void* p = nullptr;
  REQUIRE(cudaMallocAsync(&p, 4, stream) == cudaSuccess);
  cudaPointerAttributes attributes{};
  REQUIRE(cudaPointerGetAttributes(&attributes, p) == cudaSuccess);
  CHECK(attributes.device == 1);
  CHECK(cudaFreeAsync(p, stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("memory that comes back in a stream serves again, though nothing waits for it") {
  const cudaStream_t stream = stream_on(0);
  for (int i = 0; i < 2; ++i) {
    void* p = nullptr;
    REQUIRE(cudaMallocAsync(&p, size_t{520} << 20, stream) == cudaSuccess);
    REQUIRE(cudaFreeAsync(p, stream) == cudaSuccess);
  }
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST_CASE("a launch that no GPU would take is refused") {
  cudaStream_t stream = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  void (*const nothing)() = [] {};
  CHECK(emulate::launch(nothing, 1, 1024, 0, stream) == cudaSuccess);
  CHECK(emulate::launch(nothing, 1, 1025, 0, stream) == cudaErrorInvalidConfiguration);
  CHECK(emulate::launch(nothing, 0, 32, 0, stream) == cudaErrorInvalidConfiguration);
  CHECK(emulate::launch(nothing, dim3(1, 65536), 32, 0, stream) == cudaErrorInvalidConfiguration);
  CHECK(emulate::launch(nothing, 1, 32, 48 << 10, stream) == cudaSuccess);
  CHECK(emulate::launch(nothing, 1, 32, 49 << 10, stream) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) == cudaSuccess);
  CHECK(emulate::launch(nothing, 1, 32, 227 << 10, stream) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}
