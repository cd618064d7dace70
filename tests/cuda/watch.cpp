// Faults planted in kernels end the process with a sentence that names them, whatever comes out of the kernel; what
// looks like one and is none goes on.
#include "tests/cuda/emulate/watch.h"

#include "cuda/device.h"
#include "tests/cuda/on_device.h"

using namespace mininn::cuda;
using Catch::Contains;
using emulate::last_words, emulate::run, emulate::stream_on;
using emulate::OnDevice, emulate::Order, emulate::set_order;

namespace {

constexpr const char* kUnordered = "and nothing orders the two";

// --- shared memory --------------------------------------------------------------------------------------------------

// The last thread runs first, so that the sum is right without the barrier, too.
template <bool kBarrier>
void sum_of(const int* x, int* sum) {
  __shared__ int shared[64];
  shared[threadIdx.x] = x[threadIdx.x];
  if (kBarrier) __syncthreads();
  if (threadIdx.x != 0) return;
  *sum = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) *sum += shared[i];
}

// Each thread reads what its neighbour has written, behind what the threads of a warp can do together.
enum class Together { nothing, shuffle, barrier };
template <Together kHow>
void pass_on(int* to, unsigned threads) {
  __shared__ int shared[64];
  shared[threadIdx.x] = int(threadIdx.x);
  if (kHow == Together::shuffle) __shfl_xor_sync(0xffffffffu, 1, 1);
  if (kHow == Together::barrier) __syncwarp();
  to[threadIdx.x] = shared[(threadIdx.x + 1) % threads];
}

template <bool kBarrier>
void write_behind_reads(int* to) {
  __shared__ int shared;
  if (threadIdx.x == 0) shared = 1;
  __syncthreads();
  to[threadIdx.x] = shared;
  if (kBarrier) __syncthreads();
  if (threadIdx.x == 5) shared = 2;
}

template <bool kAll>
void read_unwritten(int* to) {
  __shared__ int shared[32];
  if (kAll || blockIdx.x == 0) shared[threadIdx.x] = 3;
  to[blockIdx.x * 32 + threadIdx.x] = shared[threadIdx.x];
}

}  // namespace

TEST_CASE("a forgotten barrier is found where the result is right without it") {
  set_order(Order::descending);
  const OnDevice<int> x(std::vector<int>(64, 1)), sum(1);
  run(sum_of<true>, 1, 64, x.data(), sum.data());
  CHECK(sum.values()[0] == 64);
  const std::string said = last_words([&] { run(sum_of<false>, 1, 64, x.data(), sum.data()); });
  CHECK_THAT(said, Contains("emulate: a thread reads byte ") && Contains(kUnordered) &&
                       Contains("of shared memory, which block (0,0,0) thread (1,0,0) wrote") &&
                       Contains(": block (0,0,0) thread (0,0,0)\n"));
}

TEST_CASE("a barrier of a warp orders its threads alone, and a shuffle none") {
  set_order(Order::shuffled, 1);
  const OnDevice<int> to(64);
  run(pass_on<Together::barrier>, 1, 32, to.data(), 32u);
  CHECK(to.values()[31] == 0);
  CHECK_THAT(last_words([&] { run(pass_on<Together::barrier>, 1, 64, to.data(), 64u); }), Contains(kUnordered));
  CHECK_THAT(last_words([&] { run(pass_on<Together::shuffle>, 1, 32, to.data(), 32u); }), Contains(kUnordered));
}

TEST_CASE("shared memory that others may still read is not written") {
  for (const Order order : {Order::ascending, Order::descending}) {
    set_order(order);
    const OnDevice<int> to(64);
    run(write_behind_reads<true>, 1, 64, to.data());
    CHECK(to.values() == std::vector(64, 1));
    CHECK_THAT(last_words([&] { run(write_behind_reads<false>, 1, 64, to.data()); }), Contains(kUnordered));
  }
}

TEST_CASE("shared memory that nobody of the block has written is not read, whatever an earlier block left there") {
  const OnDevice<int> to(64);
  run(read_unwritten<true>, 2, 32, to.data());
  CHECK(to.values() == std::vector(64, 3));
  CHECK_THAT(last_words([&] { run(read_unwritten<false>, 2, 32, to.data()); }),
             Contains("of shared memory, which no thread of the block has written: block (1,0,0)"));
}

// --- asynchronous copies --------------------------------------------------------------------------------------------

namespace {

enum class Fault { none, no_wait, no_barrier, reads, writes, copies, changes_source };
template <Fault kFault>
void copy_through(int* from, int* to) {
  __shared__ __align__(16) int stage[32];
  const unsigned i = threadIdx.x;
  copy_async<4>(stage + i, from + i);
  if (kFault == Fault::reads) to[i] = stage[i];
  if (kFault == Fault::writes) stage[i] = 1;
  if (kFault == Fault::copies) copy_async<4>(stage + i, from + i);
  if (kFault == Fault::changes_source) from[(i + 1) % 32] = 0;
  close_copy_group();
  if (kFault != Fault::no_wait) wait_for_copies<0>();
  if (kFault != Fault::no_barrier) __syncthreads();
  to[i] = stage[(i + 1) % 32];
  wait_for_copies<0>();
}

}  // namespace

TEST_CASE("what an asynchronous copy writes is not touched before its thread has waited for it") {
  std::vector<int> values(32);
  for (int i = 0; i < 32; ++i) values[size_t(i)] = i;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    set_order(Order::shuffled, seed);
    const OnDevice<int> from(values), to(32);
    run(copy_through<Fault::none>, 1, 32, from.data(), to.data());
    CHECK(to.values()[31] == 0);
    CHECK(to.values()[0] == 1);
    const auto said = [&](void (*kernel)(int*, int*)) {
      return last_words([&] { run(kernel, 1, 32, from.data(), to.data()); });
    };
    CHECK_THAT(said(copy_through<Fault::no_wait>), Contains("is still copying to"));
    CHECK_THAT(said(copy_through<Fault::no_barrier>), Contains("a thread reads byte"));
    CHECK_THAT(said(copy_through<Fault::reads>), Contains("a thread reads byte") && Contains("is still copying to"));
    CHECK_THAT(said(copy_through<Fault::writes>), Contains("a thread writes byte") && Contains("is still copying to"));
    CHECK_THAT(said(copy_through<Fault::copies>),
               Contains("a thread copies to byte") && Contains("is still copying to"));
    CHECK_THAT(said(copy_through<Fault::changes_source>), Contains("of global memory, which"));
  }
}

// --- global memory --------------------------------------------------------------------------------------------------

namespace {

void write_neighbours(uint8_t* to) { to[blockIdx.x * blockDim.x + threadIdx.x] = uint8_t(threadIdx.x); }
void write_one(int* to) { *to = 1; }
void write_first_read_others(int* x) {
  if (blockIdx.x == 0) x[0] = 1;
  if (blockIdx.x != 0) x[blockIdx.x] = x[0];
}
void read_first_write_others(int* x) {
  if (blockIdx.x != 2) x[1 + blockIdx.x] = x[0];
  if (blockIdx.x == 2) x[0] = 1;
}
void count(int* to) { atomicAdd(to, 1); }
void count_and_look(int* to) {
  atomicAdd(to, 1);
  if (blockIdx.x == 1) to[1] = to[0];
}
template <bool kBarrier>
void through_memory(int* x) {
  x[threadIdx.x] = int(threadIdx.x);
  if (kBarrier) __syncthreads();
  x[64 + threadIdx.x] = x[63 - threadIdx.x];
}

}  // namespace

TEST_CASE("neighbouring bytes and atomics are no races") {
  const OnDevice<uint8_t> codes(64);
  run(write_neighbours, 2, 32, codes.data());
  CHECK(codes.values()[37] == 5);
  const OnDevice<int> sum(1);
  run(count, 3, 40, sum.data());
  run(count, 3, 40, sum.data());
  CHECK(sum.values()[0] == 240);
}

TEST_CASE("nothing orders the blocks of a launch, and only barriers the threads of a block") {
  set_order(Order::shuffled, 1);
  const OnDevice<int> x(128);
  run(through_memory<true>, 1, 64, x.data());
  CHECK(x.values()[64] == 63);
  run(write_one, 1, 1, x.data());  // a launch behind the other
  const auto said = [&](void (*kernel)(int*), dim3 grid, dim3 block) {
    return last_words([&] { run(kernel, grid, block, x.data()); });
  };
  CHECK_THAT(said(through_memory<false>, 1, 64), Contains("of global memory, which block (0,0,0)"));
  CHECK_THAT(said(write_one, 1, 2), Contains("a thread writes byte"));
  CHECK_THAT(said(write_one, dim3(1, 2), 1),
             Contains("which block (0,0,0) thread (0,0,0) wrote, and nothing orders the two: block (0,1,0)"));
  CHECK_THAT(said(write_first_read_others, 3, 1), Contains("a thread reads byte"));
  CHECK_THAT(said(read_first_write_others, 3, 1),
             Contains("which block (0,0,0) thread (0,0,0) read, and nothing orders the two: block (2,0,0)"));
  CHECK_THAT(said(count_and_look, 2, 1), Contains("a thread reads byte"));
}

// --- memory that is not the kernel's --------------------------------------------------------------------------------

TEST_CASE("kernels touch the memory of their own device alone") {
  static int on_host[32];
  int on_stack = 0;
  std::vector<int> on_heap(1);
  const cudaStream_t second = stream_on(1);
  const OnDevice<int> there(1, second);
  REQUIRE(cudaStreamSynchronize(second) == cudaSuccess);
  for (int* const p : {on_heap.data(), &on_stack, there.data(), static_cast<int*>(nullptr)})
    CHECK_THAT(last_words([&] { run(write_one, 1, 1, p); }),
               Contains("emulate: a thread touches what is neither shared memory nor of the kernel's device"));
  CHECK_THAT(last_words([&] { run(write_first_read_others, 2, 1, on_host); }), Contains("emulate: a thread"));
  REQUIRE(emulate::launch(write_one, 1, 1, 0, second, there.data()) == cudaSuccess);
  CHECK(there.values()[0] == 1);
}
