#include "bench/cuda_peaks.h"

#include <algorithm>

#include "core/stopwatch.h"
#include "core/tensor.h"
#include "cuda/device.h"
#include "cuda/launch.h"

namespace mininn::bench {
namespace {

constexpr int kBlocks = 2048, kRounds = 4096, kChains = 8;  // independent sums of a thread or a warp

__global__ void fma_loop(float* out) {
  float sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = float(i);  // each its own: one would do for equal ones
  const auto x = float(threadIdx.x);
  for (int round = 0; round < kRounds; ++round)
    MININN_UNROLL for (int i = 0; i < kChains; ++i) sums[i] = cuda::multiply_add(sums[i], x, 1.0f);
  float all = 0;
  for (const float s : sums) all += s;
  out[cuda::thread_index()] = all;
}

__device__ inline void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b) { cuda::multiply_bf16(d, a, b, b); }
__device__ inline void multiply(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b) {
  cuda::multiply_u8_s8(d, a, b, b);
}

template <class Acc>
__global__ void tile_loop(Acc* out) {
  Acc sums[kChains][4] = {};
  const uint32_t a[4] = {threadIdx.x, 1, 2, 3};
  for (int round = 0; round < kRounds; ++round)
    MININN_UNROLL for (int i = 0; i < kChains; ++i) multiply(sums[i], a, threadIdx.x);
  Acc all = 0;
  for (const auto& tile : sums)
    for (const Acc s : tile) all += s;
  out[cuda::thread_index()] = all;
}

// Seconds of the fastest of some calls of `work`, which is asynchronous.
template <class Work>
double fastest(const Stream& stream, const Work& work) {
  double least = 1e9;
  for (int i = 0; i < 6; ++i) {
    synchronize(stream);
    const Stopwatch watch;
    work();
    synchronize(stream);
    if (i > 0) least = std::min(least, watch.seconds());
  }
  return least;
}

// Of loops in which each thread, or warp, makes kChains * kRounds steps.
template <class T>
double steps_per_second(Device d, void (*loop)(T*), int threads_of_step) {
  Tensor out = Tensor::empty({int64_t(kBlocks) * cuda::kThreads}, dtype_of<T>, d);
  const Stream stream = current_stream(d);
  T* const to = reinterpret_cast<T*>(out.mutable_view().data);
  const double seconds = fastest(stream, [&] { cuda::launch(loop, {kBlocks}, {d, stream}, to); });
  return double(kBlocks) * cuda::kThreads / threads_of_step * kRounds * kChains / seconds;
}

}  // namespace

double cuda_fma_gflops(Device d) { return 2e-9 * steps_per_second(d, fma_loop, 1); }
double cuda_bf16_gflops(Device d) { return 2e-9 * 16 * 8 * 16 * steps_per_second(d, tile_loop<float>, 32); }
double cuda_int8_gmacs(Device d) { return 1e-9 * 16 * 8 * 32 * steps_per_second(d, tile_loop<int32_t>, 32); }

double cuda_copy_gb_per_s(Device d) {
  const Tensor from = Tensor::zeros({int64_t{256} << 20}, DType::u8, d);
  Tensor to = from.clone();
  return 2e-9 * double(from.numel()) / fastest(current_stream(d), [&] { to.copy_from(from); });
}

}  // namespace mininn::bench
