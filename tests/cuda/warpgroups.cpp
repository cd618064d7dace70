// Faults planted in the use of barriers in shared memory, bulk copies and products of warpgroups end the process with a
// sentence that names them, whatever comes out of the kernel.
#include <random>

#include "cuda/device_sm90.h"
#include "tests/cuda/emulate/emulate.h"
#include "tests/cuda/on_device.h"

using namespace mininn::cuda;
using Catch::Contains;
using emulate::last_words, emulate::OnDevice, emulate::Order, emulate::run, emulate::run_with_shared,
    emulate::set_order;

namespace {

constexpr int kSteps = 5, kStages = 2, kMatrix = 64 * 64, kStage = 2 * kMatrix, kGroup = 128;

enum class Fault {
  none,
  no_wait_for_full,
  no_wait_for_empty,
  no_wait_for_product,
  no_fence_of_sums,
  no_fence_of_barriers,
  too_few_bytes,
  too_many_bytes,
  one_arrival_missing,
  reads_sums_early,
};

// x times the transpose of w, each kSteps matrices of 64 x 64 bytes as products read them: a thread of its own fills a
// ring that a warpgroup multiplies.
template <Fault kFault>
void ring(const unsigned char* x, const unsigned char* w, int32_t* to) {
  MININN_DYNAMIC_SHARED(stages);
  __shared__ uint64_t full[kStages], empty[kStages];
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) init_barrier(&full[i], 1), init_barrier(&empty[i], kGroup / 32);
    if (kFault != Fault::no_fence_of_barriers) fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x > kGroup) return;
  if (threadIdx.x == kGroup) {
    for (int step = 0; step < kSteps; ++step) {
      unsigned char* const stage = stages + step % kStages * kStage;
      uint64_t* const barrier = &full[step % kStages];
      if (kFault != Fault::no_wait_for_empty) wait_for_phase(&empty[step % kStages], (step / kStages + 1) % 2);
      arrive_and_expect(barrier, kFault == Fault::too_few_bytes    ? kMatrix
                                 : kFault == Fault::too_many_bytes ? kStage + 16
                                                                   : kStage);
      copy_bulk(stage, x + step * kMatrix, kMatrix, barrier);
      copy_bulk(stage + kMatrix, w + step * kMatrix, kMatrix, barrier);
    }
    return;
  }
  int32_t sums[8][4] = {};
  for (int step = 0; step < kSteps; ++step) {
    if (kFault != Fault::no_wait_for_full) wait_for_phase(&full[step % kStages], step / kStages % 2);
    const uint32_t stage = shared_address(stages + step % kStages * kStage);
    if (kFault != Fault::no_fence_of_sums) fence_products(sums);
    for (int part = 0; part < 4; part += 2)
      start_product(sums, matrix_of_rows(stage, part), matrix_of_rows(stage + kMatrix, part));
    close_product_group();
    if (kFault == Fault::reads_sums_early) to[threadIdx.x] = sums[3][1];
    kFault == Fault::no_wait_for_product ? wait_for_products<1>(sums) : wait_for_products<0>(sums);
    if (threadIdx.x % 32 == 0 && !(kFault == Fault::one_arrival_missing && threadIdx.x == 64))
      arrive(&empty[step % kStages]);
  }
  wait_for_products<0>(sums);
  const int row = int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4, column = int(threadIdx.x) % 4 * 2;
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < 4; ++i) to[(row + i / 2 * 8) * 64 + 8 * j + column + i % 2] = sums[j][i];
}

// Rows of 64 bytes with their parts where products look for them.
std::vector<unsigned char> exchanged(const std::vector<unsigned char>& rows) {
  std::vector<unsigned char> to(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) to[i ^ (i >> 7 & 3) << 4] = rows[i];
  return to;
}

struct Operands {
  std::vector<unsigned char> x, w;
  Operands() : x(kSteps * kMatrix), w(kSteps * kMatrix) {
    std::mt19937 random(3);
    for (auto& v : x) v = uint8_t(random() % 256);
    for (auto& v : w) v = uint8_t(random() % 256);
  }
  std::vector<int32_t> product() const {
    std::vector<int32_t> sums(64 * 64);
    for (size_t row = 0; row < 64; ++row)
      for (size_t column = 0; column < 64; ++column)
        for (size_t k = 0; k < kSteps * 64; ++k)
          sums[row * 64 + column] +=
              int(x[k / 64 * kMatrix + row * 64 + k % 64]) * int(int8_t(w[k / 64 * kMatrix + column * 64 + k % 64]));
    return sums;
  }
};

}  // namespace

TEST_CASE("a ring between a copying thread and a warpgroup works in every order, and no fault in it goes unseen") {
  const Operands host;
  const OnDevice<unsigned char> x(exchanged(host.x)), w(exchanged(host.w));
  const OnDevice<int32_t> to(64 * 64);
  const std::vector<int32_t> want = host.product();
  const auto once = [&](auto* kernel) {
    run_with_shared(kStages * kStage, kernel, 1, kGroup + 32, x.data(), w.data(), to.data());
  };
  const auto words = [&](auto* kernel) { return last_words([&] { once(kernel); }); };
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    set_order(seed == 1 ? Order::ascending : seed == 2 ? Order::descending : Order::shuffled, seed);
    once(ring<Fault::none>);
    CHECK(to.values() == want);
    CHECK_THAT(
        words(ring<Fault::no_wait_for_full>),
        Contains("emulate: a product or a copy reads byte ") &&
            (Contains("is still copying to") || Contains("which a bulk copy wrote, and nothing orders the two") ||
             Contains("which no thread of the block has written")));
    CHECK_THAT(words(ring<Fault::no_wait_for_empty>),
               Contains("emulate: a thread copies to byte ") &&
                   (Contains("is still copying to") ||
                    Contains("which a bulk copy wrote, and nothing orders the two") || Contains("which a product")));
    CHECK_THAT(words(ring<Fault::no_wait_for_product>),
               Contains("a thread copies to byte ") && Contains("which a product "));
    CHECK_THAT(words(ring<Fault::no_fence_of_sums>), Contains("without a fence_products() behind it"));
    CHECK_THAT(words(ring<Fault::no_fence_of_barriers>),
               Contains("thread (0,0,0) wrote without a fence_async_proxy() behind it"));
    CHECK_THAT(words(ring<Fault::too_few_bytes>), Contains("more bytes come to a barrier than it expects") ||
                                                      Contains("a product or a copy reads byte ") ||
                                                      Contains("a block ends while a barrier expects bytes") ||
                                                      Contains("a thread copies to byte"));
    CHECK_THAT(words(ring<Fault::too_many_bytes>), Contains("threads wait that nobody lets go on"));
    CHECK_THAT(words(ring<Fault::one_arrival_missing>), Contains("threads wait that nobody lets go on"));
    CHECK_THAT(words(ring<Fault::reads_sums_early>), Contains("touches sums before it has waited for their products"));
  }
}

namespace {

enum class Slip {
  none,
  no_fence,
  early_fence,
  overwrites,
  reads_behind_no_barrier,
  no_group,
  no_end,
  other_matrix,
  crooked_matrix,
  far_matrix,
  two_warps,
};

// One product of matrices that the threads themselves have written.
template <Slip kSlip>
void written_by_threads(const unsigned char* x, int32_t* to) {
  MININN_DYNAMIC_SHARED(matrices);
  const unsigned t = threadIdx.x;
  if (kSlip == Slip::early_fence) fence_async_proxy();
  for (unsigned i = t; i < kStage; i += blockDim.x) matrices[i] = x[i];
  if (kSlip != Slip::no_fence && kSlip != Slip::early_fence) fence_async_proxy();
  if (kSlip != Slip::reads_behind_no_barrier) __syncthreads();
  int32_t sums[8][4] = {};
  fence_products(sums);
  uint32_t at = shared_address(matrices);
  if (kSlip == Slip::other_matrix && t >= 96) at += 512;
  if (kSlip == Slip::crooked_matrix) at += 64;
  if (kSlip == Slip::far_matrix) at += kMatrix + 512;
  if (kSlip != Slip::two_warps || t < 64) start_product(sums, matrix_of_rows(at, 0), matrix_of_rows(at + kMatrix, 0));
  if (kSlip == Slip::overwrites && t == 3) matrices[70] = 1;
  if (kSlip != Slip::no_group) close_product_group();
  if (kSlip != Slip::no_end) wait_for_products<0>(sums);
  if (kSlip != Slip::no_end && kSlip != Slip::no_group) to[t] = sums[0][0];
}

}  // namespace

TEST_CASE("products of what threads have written want a fence, a barrier, whole groups and straight matrices") {
  const Operands host;
  const OnDevice<unsigned char> x(host.x);
  const OnDevice<int32_t> to(kGroup);
  const auto words = [&](auto* kernel) {
    return last_words([&] { run_with_shared(kStage, kernel, 1, kGroup, x.data(), to.data()); });
  };
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    set_order(Order::shuffled, seed);
    CHECK(words(written_by_threads<Slip::none>) == "");
    CHECK_THAT(words(written_by_threads<Slip::no_fence>), Contains("wrote without a fence_async_proxy() behind it"));
    CHECK_THAT(words(written_by_threads<Slip::early_fence>), Contains("wrote without a fence_async_proxy() behind it"));
    CHECK_THAT(words(written_by_threads<Slip::overwrites>), Contains("which a product is still reading"));
    CHECK_THAT(words(written_by_threads<Slip::reads_behind_no_barrier>),
               Contains("which no thread of the block has written") || Contains("and nothing orders the two"));
    CHECK_THAT(words(written_by_threads<Slip::no_group>), Contains("a block ends before its products are done"));
    CHECK_THAT(words(written_by_threads<Slip::no_end>), Contains("a block ends before its products are done"));
    CHECK_THAT(words(written_by_threads<Slip::other_matrix>), Contains("start different products"));
    CHECK_THAT(words(written_by_threads<Slip::crooked_matrix>), Contains("does not begin at eight of its rows"));
    CHECK_THAT(words(written_by_threads<Slip::far_matrix>), Contains("beyond the shared memory of the launch"));
    CHECK_THAT(words(written_by_threads<Slip::two_warps>), Contains("a product lacks a warp of its warpgroup"));
  }
}

namespace {

// A barrier that a thread makes and others use; what it hands on has been written by all of them, and is read by all.
enum class Handing { right, no_barrier_behind_init, no_wait, overwrites };
template <Handing kHow>
void hand_on(int* to) {
  __shared__ uint64_t written, read;
  __shared__ int values[64];
  const unsigned t = threadIdx.x;
  if (t == 0) init_barrier(&written, 64), init_barrier(&read, 64);
  if (kHow != Handing::no_barrier_behind_init) __syncthreads();
  for (int round = 0; round < 3; ++round) {
    values[t] = int(t) + round;
    arrive(&written);
    if (kHow != Handing::no_wait) wait_for_phase(&written, uint32_t(round % 2));
    to[64 * round + int(t)] = values[(t + 1) % 64] + values[(t + 33) % 64];
    arrive(&read);
    if (kHow != Handing::overwrites) wait_for_phase(&read, uint32_t(round % 2));
  }
}

}  // namespace

TEST_CASE("a barrier in shared memory orders those who arrive before those who have waited, and nobody else") {
  const OnDevice<int> to(3 * 64);
  const auto words = [&](auto* kernel) { return last_words([&] { run(kernel, 1, 64, to.data()); }); };
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    set_order(Order::shuffled, seed);
    run(hand_on<Handing::right>, 1, 64, to.data());
    CHECK(to.values()[64 + 5] == 6 + 38 + 2);
    CHECK_THAT(words(hand_on<Handing::no_barrier_behind_init>), Contains("emulate: a"));
    CHECK_THAT(words(hand_on<Handing::no_wait>), Contains("emulate: a thread"));
    CHECK_THAT(words(hand_on<Handing::overwrites>),
               Contains("emulate: a thread ") && Contains("and nothing orders the two"));
  }
}
