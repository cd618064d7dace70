// The weight gradient of bf16 convolutions on tensor cores: rows are output channels, columns (tap, input channel), and
// k runs over output pixels, of which every image has the channels in a row. So both sides lie in shared memory with k
// from row to row, and are transposed as they are loaded.
//
// A block makes a tile of 64 x 128 sums over a part of the pixels, with four warps, each 64 x 32, in steps of 32 pixels
// through a ring of three stages. How the pixels are cut into parts follows from the sizes alone, and the parts' sums
// are added in their order.
#include <algorithm>

#include "core/convert.h"
#include "cuda/own/float/kernels.h"
#include "cuda/own/implicit_gemm.h"
#include "cuda/scratch.h"

namespace mininn::cuda::own {
namespace {

using mma::kBlockThreads, mma::kChunk, mma::kStages, mma::Size;

constexpr int kRows = 64, kColumns = 128, kDepth = 32;  // of a tile; pixels of a step
constexpr int kElements = kChunk / int(sizeof(bf16));   // that a thread fetches at once
constexpr int kRowBytes = kRows * int(sizeof(bf16)), kColumnBytes = kColumns * int(sizeof(bf16));
constexpr int kStageBytes = kDepth * (kRowBytes + kColumnBytes);
static_assert(kStages * kStageBytes <= 48 << 10, "more needs an attribute of the kernel");

struct WeightGradient {
  mma::Forward sampling;
  const bf16 *x, *gy;
  int pixels, each;     // output pixels of all images, of a part; 32 bits, for they are divided in the loop
  int ic, oc, columns;  // columns: taps * ic
};

// The chunks of `width` bytes' rows that a thread fetches: numbers threadIdx.x + i * kBlockThreads, row by row.
template <int kWidth>
struct Chunks {
  static constexpr int kPerRow = kWidth / kChunk, kCount = kDepth * kPerRow / kBlockThreads;
  __device__ static int row(int i) { return (int(threadIdx.x) + i * kBlockThreads) / kPerRow; }
  __device__ static int chunk(int i) { return int(threadIdx.x) % kPerRow; }
  // Where 16 bytes of a row lie: eight rows that a matrix is loaded from meet in no bank.
  __device__ static int swizzled(int row, int chunk) { return row * kWidth + (chunk ^ (row & 7)) * kChunk; }
};
using Left = Chunks<kRowBytes>;
using Right = Chunks<kColumnBytes>;

// kElements from `from(e)` on for e = 0, kAtOnce, ..: null stands for zeros.
template <int kAtOnce, class From>
__device__ inline void fetch_chunk(unsigned char* to, const From& from) {
  MININN_UNROLL for (int e = 0; e < kElements; e += kAtOnce) {
    const bf16* const p = from(e);
    auto* const place = reinterpret_cast<bf16*>(to) + e;
    if (p && kAtOnce == kElements)
      copy_async<kChunk>(place, p);
    else
      for (int i = 0; i < kAtOnce; ++i) place[i] = p ? p[i] : bf16(0.0f);
  }
}

// kAtOnce: elements that share a tap and may be copied at once, 1 or kElements.
template <int kAtOnce>
__device__ inline void fetch(const WeightGradient& q, int begin, int end, int first_row, int first_column,
                             unsigned char* stage) {
  MININN_UNROLL for (int i = 0; i < Left::kCount; ++i) {
    const int pixel = begin + Left::row(i);
    const int o = first_row + Left::chunk(i) * kElements;
    fetch_chunk<kAtOnce>(stage + Left::swizzled(Left::row(i), Left::chunk(i)), [&](int e) -> const bf16* {
      return pixel < end && o + e < q.oc ? q.gy + int64_t{pixel} * q.oc + o + e : nullptr;
    });
  }
  const auto& s = q.sampling;
  MININN_UNROLL for (int i = 0; i < Right::kCount; ++i) {
    const int pixel = begin + Right::row(i), row = pixel / s.result.w, n = row / s.result.h;
    const Size first = s.first({row - n * s.result.h, pixel - row * s.result.w});
    const int column = first_column + Right::chunk(i) * kElements;
    fetch_chunk<kAtOnce>(
        stage + kDepth * kRowBytes + Right::swizzled(Right::row(i), Right::chunk(i)), [&](int e) -> const bf16* {
          const int tap = (column + e) / q.ic, c = (column + e) % q.ic;
          Size p;
          if (pixel >= end || column + e >= q.columns || !s.find(first, {tap / s.taps.w, tap % s.taps.w}, p))
            return nullptr;
          return q.x + ((int64_t{n} * s.source.h + p.h) * s.source.w + p.w) * q.ic + c;
        });
  }
}

// The warp's share of a stage.
__device__ inline void multiply(const unsigned char* stage, int column, mma::WarpSums<float>& sums) {
  const int lane = int(threadIdx.x) % 32;
  const unsigned char *const left = stage, *const right = stage + kDepth * kRowBytes;
  MININN_UNROLL for (int k = 0; k < kDepth; k += 16) {
    uint32_t a[4][4], b[2][4];
    MININN_UNROLL for (int i = 0; i < 4; ++i)
        load_transposed(a[i], left + Left::swizzled(k + lane % 8 + lane / 16 * 8, 2 * i + lane / 8 % 2));
    MININN_UNROLL for (int j = 0; j < 2; ++j) load_transposed(
        b[j], right + Right::swizzled(k + lane % 8 + lane / 8 % 2 * 8, column / kElements + 2 * j + lane / 16));
    mma::multiply_warp<float>(sums, a, b);
  }
}

struct PartialRow {
  float* partial;
  __device__ void store(const Eight<float>& sums, int count) const { store_eight(partial, sums, count); }
};

// partial[part][o][column]
template <int kAtOnce>
__global__ void __launch_bounds__(kBlockThreads)
    weight_gradient_kernel(const __grid_constant__ WeightGradient q, float* partial) {
  __shared__ __align__(128) unsigned char stages[kStages][kStageBytes];
  const int first_column = int(blockIdx.x) * kColumns, first_row = int(blockIdx.y) * kRows;
  const int begin = int(blockIdx.z) * q.each, left = q.pixels - begin, end = begin + (left < q.each ? left : q.each);
  const int steps = (end - begin + kDepth - 1) / kDepth;
  const int warp_column = int(threadIdx.x) / 32 * 32;
  mma::WarpSums<float> sums = {};
  mma::go_through_ring(
      stages, steps,
      [&](int step, unsigned char* stage) {
        fetch<kAtOnce>(q, begin + step * kDepth, end, first_row, first_column, stage);
      },
      [&](const unsigned char* stage) { multiply(stage, warp_column, sums); });
  float* const part = partial + int64_t(blockIdx.z) * q.oc * q.columns;
  mma::store_warp(sums, first_row, q.oc, first_column + warp_column, q.columns,
                  [&](int64_t o, int64_t column) { return PartialRow{part + o * q.columns + column}; });
}

// gw[o][c][tap] = the sum of the parts.
template <class W>
__global__ void finish_kernel(int64_t count, int64_t parts, int64_t ic, int64_t taps, const float* partial, W* gw) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t o = i / (ic * taps), column = i % (ic * taps);
    float sum = 0;
    for (int64_t p = 0; p < parts; ++p) sum += partial[p * count + i];
    gw[o * ic * taps + column % ic * taps + column / ic] = convert<W>(sum);
  }
}

// Parts of the pixels: enough blocks to keep a large GPU busy, none without work for its ring, and none whose sums are
// so long that their rounding is felt.
int64_t pixels_of_part(int64_t pixels, int64_t tiles) {
  constexpr int64_t kBlocks = 512, kLeast = 512, kMost = 4096;
  const int64_t wanted = std::max<int64_t>(kBlocks / tiles, 1);
  return round_up(std::clamp(ceil_div(pixels, wanted), kLeast, kMost), int64_t(kDepth));
}

Refusal check(const op::Conv2dBwdWeights& q) {
  if (q.x.dtype != DType::bf16) return {"is not of bf16"};
  const int64_t pixels = q.g.n * q.g.oh * q.g.ow;
  if (ceil_div(q.g.oc, int64_t(kRows)) > 65535 || ceil_div(pixels, pixels_of_part(pixels, 1)) > 65535 ||
      q.g.kh * q.g.kw * q.g.ic > 0x3fffffff)
    return {"too large for its grid or its indices"};
  return mma::check_indices(q.g, pixels, q.g.oc, q.g.ic * int64_t(sizeof(bf16)));
}

void run(const op::Conv2dBwdWeights& a, const ExecContext& at) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, pixels = g.n * g.oh * g.ow, count = g.oc * g.ic * taps;
  const int64_t across = ceil_div(taps * g.ic, int64_t(kColumns)), down = ceil_div(g.oc, int64_t(kRows));
  const int64_t each = pixels_of_part(pixels, std::max<int64_t>(across * down, 1)), parts = ceil_div(pixels, each);
  const WeightGradient q{mma::Forward(g), a.x.as<bf16>(), a.gy.as<bf16>(), int(pixels),
                         int(each),       int(g.ic),      int(g.oc),       int(taps * g.ic)};
  Scratch<float> partial(parts * count, at);
  const Grid grid{dim3(unsigned(across), unsigned(down), unsigned(parts)), kBlockThreads};
  const bool whole_chunks = g.ic % kElements == 0 && g.oc % kElements == 0 &&
                            (std::bit_cast<uintptr_t>(q.x) | std::bit_cast<uintptr_t>(q.gy)) % kChunk == 0;
  launch(whole_chunks ? weight_gradient_kernel<kElements> : weight_gradient_kernel<1>, grid, at, q, partial.data());
  if (a.gw.dtype == DType::f32)
    launch(finish_kernel<float>, grid_of(count), at, count, parts, g.ic, taps, partial.data(), a.gw.as<float>());
  else
    launch(finish_kernel<bf16>, grid_of(count), at, count, parts, g.ic, taps, partial.data(), a.gw.as<bf16>());
}

}  // namespace

constinit const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_mma{"own.mma", kOwn, check, run};

}  // namespace mininn::cuda::own
