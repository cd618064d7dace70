// Convolutions as matrix products on tensor cores: rows are pixels of the result, columns its channels, and k runs over
// the taps and, innermost, the channels of a pixel of the source (implicit GEMM; Chetlur et al. 2014, "cuDNN"). What a
// row reads is gathered from the source where it lies. Codes and bf16 differ in the instruction alone.
//
// A block makes a tile of 128 pixels x 64 channels with four warps, each 64 x 32. k goes by steps of 64 bytes through a
// ring of three stages in shared memory, filled by asynchronous copies while the stages before are multiplied. What
// lies beyond the image's edge is read from a line of zeros, or of the code that stands for zero: then the zero point's
// share of a sum is the same for every pixel.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/kernel.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/own/eight.h"
#include "ops/conv2d.h"

namespace mininn::cuda::own::mma {

inline constexpr int kPixels = 128, kChannels = 64, kStep = 64, kStages = 3;  // kStep: bytes of k
inline constexpr int kBlockThreads = 128, kWarpPixels = 64, kWarpChannels = 32;
inline constexpr int kStageBytes = (kPixels + kChannels) * kStep;
inline constexpr int kChunk = 16;  // bytes that a thread fetches at once, of one row
inline constexpr int kRowsAtOnce = kBlockThreads / (kStep / kChunk);
static_assert(kStages * kStageBytes <= 48 << 10, "more needs an attribute of the kernel");

struct Size {
  int h, w;
};

// Which pixels of the source the result is made of.
struct Sampling {
  Size source, result, taps, stride, pad, dil;

  Sampling(const Conv2dGeometry& g, Size from, Size to)
      : source(from),
        result(to),
        taps{int(g.kh), int(g.kw)},
        stride{int(g.stride_h), int(g.stride_w)},
        pad{int(g.pad_h), int(g.pad_w)},
        dil{int(g.dil_h), int(g.dil_w)} {}
  __device__ bool is_inside(Size p) const { return p.h >= 0 && p.h < source.h && p.w >= 0 && p.w < source.w; }
};

// Of a convolution: those of its input.
struct Forward : Sampling {
  explicit Forward(const Conv2dGeometry& g) : Sampling(g, {int(g.ih), int(g.iw)}, {int(g.oh), int(g.ow)}) {}
  // That of tap (0, 0) for a pixel of the result.
  __device__ Size first(Size p) const { return {p.h * stride.h - pad.h, p.w * stride.w - pad.w}; }
  // That of another tap; false if it lies outside.
  __device__ bool find(Size first, Size tap, Size& p) const {
    p = {first.h + tap.h * dil.h, first.w + tap.w * dil.w};
    return is_inside(p);
  }
};

// Of the gradient for a convolution's input: those of the gradient for its output.
struct Backward : Sampling {
  explicit Backward(const Conv2dGeometry& g) : Sampling(g, {int(g.oh), int(g.ow)}, {int(g.ih), int(g.iw)}) {}
  __device__ Size first(Size p) const { return {p.h + pad.h, p.w + pad.w}; }
  __device__ bool find(Size first, Size tap, Size& p) const {
    p = {first.h - tap.h * dil.h, first.w - tap.w * dil.w};
    if (p.h < 0 || p.w < 0 || p.h % stride.h != 0 || p.w % stride.w != 0) return false;
    p = {p.h / stride.h, p.w / stride.w};
    return is_inside(p);
  }
};

// Both sides of the product.
template <class S>
struct Operands {
  S sampling;
  const unsigned char* x;           // the source
  int64_t x_image, x_row, x_pixel;  // distances in bytes
  const unsigned char* zeros;       // kChunk bytes
  const unsigned char* w;   // [columns rounded up to kChannels][steps * kStep bytes], in the order of k, zeros behind
  int64_t pixels, columns;  // of the result, pixels of all images
  int channels, steps;      // of k: bytes of a pixel, steps of kStep bytes
};

// Of a k of so many taps with `channels` bytes each.
constexpr int64_t steps_of(int64_t taps, int64_t channels) { return ceil_div(taps * channels, int64_t(kStep)); }
constexpr int64_t weight_bytes(int64_t columns, int64_t steps) {
  return round_up(columns, int64_t(kChannels)) * steps * kStep;
}

// Whether the kernel can count so far.
inline Refusal check_indices(const Conv2dGeometry& g, int64_t pixels, int64_t columns, int64_t channels) {
  constexpr int64_t most = 0x3fffffff;
  if (g.groups != 1) return {"has groups"};
  const int64_t rows = std::max(g.ih, g.oh * g.stride_h) + g.kh * g.dil_h + g.pad_h;
  const int64_t row = std::max(g.iw, g.ow * g.stride_w) + g.kw * g.dil_w + g.pad_w;
  if (std::max({rows, row, channels, steps_of(g.kh * g.kw, channels) * kStep}) > most ||
      ceil_div(pixels, int64_t(kPixels)) > 0x7fffffff || ceil_div(columns, int64_t(kChannels)) > 65535)
    return {"too large for its grid or its indices"};
  return {};
}

// Where 16 bytes of a row lie in a stage: eight rows that a matrix is loaded from meet in no bank.
constexpr int swizzled(int row, int chunk) { return row * kStep + ((chunk ^ (row >> 1)) & 3) * kChunk; }

// The pixels whose rows a thread fetches.
template <class S>
struct Rows {
  static constexpr int kCount = kPixels / kRowsAtOnce;
  const unsigned char* image[kCount];
  Size first[kCount];

  __device__ Rows(const Operands<S>& q, int64_t begin) {
    MININN_UNROLL for (int i = 0; i < kCount; ++i) {
      const int64_t wanted = begin + i * kRowsAtOnce, pixel = wanted < q.pixels ? wanted : q.pixels - 1;
      const int64_t row = pixel / q.sampling.result.w, n = row / q.sampling.result.h;
      image[i] = q.x + n * q.x_image;
      first[i] = q.sampling.first({int(row - n * q.sampling.result.h), int(pixel - row * q.sampling.result.w)});
    }
  }
  // Bytes of k from number `at` on, of the row's tap.
  __device__ const unsigned char* source(const Operands<S>& q, int i, int at) const {
    const int tap = at / q.channels, c = at % q.channels;
    const Size taps = q.sampling.taps;
    Size p;
    if (tap >= taps.h * taps.w || !q.sampling.find(first[i], {tap / taps.w, tap % taps.w}, p)) return q.zeros;
    return image[i] + p.h * q.x_row + p.w * q.x_pixel + c;
  }
};

// T: of elements that copies may not cut, aligned in the source; 16 or 4 bytes are copied asynchronously.
template <class T, class S>
__device__ inline void fetch(const Operands<S>& q, const Rows<S>& rows, int64_t first_channel, int step,
                             unsigned char* stage) {
  constexpr int kBytes = sizeof(T);
  const int row = int(threadIdx.x) / (kStep / kChunk), chunk = int(threadIdx.x) % (kStep / kChunk);
  const int at = step * kStep + chunk * kChunk;
  MININN_UNROLL for (int i = 0; i < Rows<S>::kCount; ++i) {
    unsigned char* const to = stage + swizzled(row + i * kRowsAtOnce, chunk);
    if constexpr (kBytes < 4) {
      MININN_ROLLED for (int b = 0; b < kChunk; b += kBytes) {
        *reinterpret_cast<T*>(to + b) = *reinterpret_cast<const T*>(rows.source(q, i, at + b));
      }
    } else {
      MININN_UNROLL for (int b = 0; b < kChunk; b += kBytes) copy_async<kBytes>(to + b, rows.source(q, i, at + b));
    }
  }
  MININN_UNROLL for (int i = 0; i < kChannels / kRowsAtOnce; ++i) {
    const int64_t channel = first_channel + row + i * kRowsAtOnce;
    copy_async<kChunk>(stage + kPixels * kStep + swizzled(row + i * kRowsAtOnce, chunk),
                       q.w + channel * q.steps * kStep + at);
  }
}

struct alignas(16) Sixteen {
  unsigned char bytes[16];
};

// Makes `steps` steps with a ring of stages: fetch(step, stage) starts to fill a stage by copy_async(), kStages - 1
// steps ahead of multiply(stage). All of a block's threads call it.
template <int kBytes, class Fetch, class Multiply>
__device__ inline void go_through_ring(unsigned char (&stages)[kStages][kBytes], int steps, const Fetch& fetch,
                                       const Multiply& multiply) {
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) fetch(step, stages[step]);
    close_copy_group();
  }
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // this step's stage is there for all, and nobody reads the one that is filled next
    const int next = step + kStages - 1;
    if (next < steps) fetch(next, stages[next % kStages]);
    close_copy_group();
    multiply(stages[step % kStages]);
  }
  wait_for_copies<0>();
}

// d += a b, of 16 x 32 and 32 x 8 bytes.
__device__ inline void multiply_tiles(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_u8_s8(d, a, b0, b1);
}
__device__ inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_bf16(d, a, b0, b1);
}

// The sums of a warp, 64 x 32 of them as 4 x 4 tiles of 16 x 8: += a b, for a of 64 x 32 bytes and b of 32 x 32.
template <class Acc>
using WarpSums = Acc[4][4][4];
template <class Acc>
__device__ inline void multiply_warp(WarpSums<Acc>& sums, const uint32_t (&a)[4][4], const uint32_t (&b)[2][4]) {
  MININN_UNROLL for (int i = 0; i < 4; ++i) MININN_UNROLL for (int j = 0; j < 4; ++j)
      multiply_tiles(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
}

// What the four lanes of a row have of four tiles, two columns of each tile one behind the other, changes hands: lane t
// gets the eight columns of tile t.
template <class Acc>
__device__ inline void exchange(Eight<Acc>& line) {
  // Of two lanes or two pairs of lanes, the lower one keeps the lower tiles and gets the same ones of the other.
  const auto swap = [](bool upper, Acc& low, Acc& high, int lanes) {
    const Acc got = __shfl_xor_sync(0xffffffffu, upper ? low : high, lanes);
    (upper ? low : high) = got;
  };
  const int t = int(threadIdx.x) % 4;
  MININN_UNROLL for (const int i : {0, 1, 4, 5}) swap(t % 2 != 0, line.v[i], line.v[i + 2], 1);
  MININN_UNROLL for (int i = 0; i < 4; ++i) swap(t / 2 != 0, line.v[i], line.v[i + 4], 2);
}

// row_of(r, c).store(sums, n) for the sums below `rows` and `columns`, where the warp's begin at first_row and
// first_column: n of eight sums of row r, from column c on. They are of kDown x kAcross tiles of 16 x 8. All threads of
// a warp call it.
template <class Acc, int kDown, int kAcross, class RowOf>
__device__ inline void store_warp(const Acc (&sums)[kDown][kAcross][4], int64_t first_row, int64_t rows,
                                  int64_t first_column, int64_t columns, const RowOf& row_of) {
  static_assert(kAcross % 4 == 0);
  const int lane = int(threadIdx.x) % 32;
  MININN_UNROLL for (int across = 0; across < kAcross; across += 4) {
    const int64_t c = first_column + (across + lane % 4) * 8;
    const int left = int(columns - c < 8 ? columns - c : 8);
    MININN_UNROLL for (int i = 0; i < 2 * kDown; ++i) {
      Eight<Acc> line;
      MININN_UNROLL for (int j = 0; j < 4; ++j) MININN_UNROLL for (int k = 0; k < 2; ++k) line.v[2 * j + k] =
          sums[i / 2][across + j][i % 2 * 2 + k];
      exchange(line);
      const int64_t r = first_row + 8 * i + lane / 4;
      if (r < rows && left > 0) row_of(r, c).store(line, left);
    }
  }
}

// The warp's share of a stage.
template <class Acc>
__device__ inline void multiply(const unsigned char* stage, int pixel, int channel, WarpSums<Acc>& sums) {
  const int lane = int(threadIdx.x) % 32;
  const unsigned char *const x = stage, *const w = stage + kPixels * kStep;
  MININN_UNROLL for (int chunk = 0; chunk < kStep / kChunk; chunk += 2) {  // 32 bytes of k
    uint32_t a[4][4], b[2][4];
    MININN_UNROLL for (int i = 0; i < 4; ++i)
        load_matrices(a[i], x + swizzled(pixel + 16 * i + lane % 16, chunk + lane / 16));
    MININN_UNROLL for (int j = 0; j < 2; ++j)
        load_matrices(b[j], w + swizzled(channel + 16 * j + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2));
    multiply_warp<Acc>(sums, a, b);
  }
}

// finish.row(pixel, channel) gives an object that gets store(sums, n): n of eight, for this channel of the pixel and
// those behind it.
// Acc: int32_t for codes, float for bf16.
template <class T, class Acc, class S, class Finish>
__global__ void __launch_bounds__(kBlockThreads)
    conv2d_kernel(const __grid_constant__ Operands<S> q, const __grid_constant__ Finish finish) {
  __shared__ __align__(128) unsigned char stages[kStages][kStageBytes];
  const int64_t first_pixel = int64_t(blockIdx.x) * kPixels, first_channel = int64_t(blockIdx.y) * kChannels;
  const int warp = int(threadIdx.x) / 32;
  const int64_t pixel = warp % 2 * kWarpPixels, channel = warp / 2 * kWarpChannels;  // of the tile, the warp's first
  const bool needed = first_pixel + pixel < q.pixels && first_channel + channel < q.columns;
  const Rows<S> rows(q, first_pixel + threadIdx.x / (kStep / kChunk));
  WarpSums<Acc> sums = {};
  go_through_ring(
      stages, q.steps, [&](int step, unsigned char* stage) { fetch<T>(q, rows, first_channel, step, stage); },
      [&](const unsigned char* stage) {
        if (needed) multiply<Acc>(stage, int(pixel), int(channel), sums);
      });
  store_warp(sums, first_pixel + pixel, q.pixels, first_channel + channel, q.columns,
             [&](int64_t p, int64_t c) { return finish.row(p, c); });
}

// Least: the type of the source's elements.
template <class Least, class Acc, class S, class Finish>
void convolve(const Operands<S>& q, const Finish& finish, const ExecContext& at) {
  const Grid grid{
      dim3(unsigned(ceil_div(q.pixels, int64_t(kPixels))), unsigned(ceil_div(q.columns, int64_t(kChannels)))),
      kBlockThreads};
  const auto multiples_of = [&](uintptr_t n) {
    const auto distances = uintptr_t(q.x_image) | uintptr_t(q.x_row) | uintptr_t(q.x_pixel) | uintptr_t(q.channels);
    return (std::bit_cast<uintptr_t>(q.x) | distances) % n == 0;
  };
  if (multiples_of(16))
    launch(conv2d_kernel<Sixteen, Acc, S, Finish>, grid, at, q, finish);
  else if (multiples_of(4))
    launch(conv2d_kernel<uint32_t, Acc, S, Finish>, grid, at, q, finish);
  else
    launch(conv2d_kernel<Least, Acc, S, Finish>, grid, at, q, finish);
}

}  // namespace mininn::cuda::own::mma
