// Int8 convolution as an implicit matrix product on tensor cores: rows are output pixels, columns output channels, and
// k runs over the taps and, innermost, the channels of a pixel with those behind them up to a multiple of four.
//
// A block makes a tile of 128 pixels x 64 channels with four warps, each 64 x 32. k goes by steps of 64 bytes through a
// ring of three stages in shared memory, filled by asynchronous copies while the stages before are multiplied. A pixel
// beyond the image's edge is the code of zero: its copies read a line of such codes, so that the zero point's share of
// a sum is the same for every pixel and part of the bias.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/own/int8/convolution.h"

namespace mininn::cuda::own::mma {

inline constexpr int kPixels = 128, kChannels = 64, kStep = 64, kStages = 3;  // kStep: bytes of k
inline constexpr int kBlockThreads = 128, kWarpPixels = 64, kWarpChannels = 32;
inline constexpr int kStageBytes = (kPixels + kChannels) * kStep;
inline constexpr int kChunk = 16;  // bytes that a thread fetches at once, of one row
inline constexpr int kRowsAtOnce = kBlockThreads / (kStep / kChunk);
static_assert(kStages * kStageBytes <= 48 << 10, "more needs an attribute of the kernel");

// Its weights are [oc rounded up to kChannels][steps * kStep], with zeros behind; its bias has the zero point's share.
struct MmaConvolution : Convolution {
  int channels, steps;   // of a pixel, a multiple of 4; of k
  const uint8_t* zeros;  // kChunk times the code of zero
};

// Where 16 bytes of a row lie in a stage: eight rows that a matrix is loaded from meet in no bank.
__device__ inline int swizzled(int row, int chunk) { return row * kStep + ((chunk ^ (row >> 1)) & 3) * kChunk; }

// The pixels whose rows a thread fetches.
struct Rows {
  static constexpr int kCount = kPixels / kRowsAtOnce;
  const uint8_t* image[kCount];
  int h[kCount], w[kCount];  // of tap (0, 0)

  __device__ Rows(const MmaConvolution& q, int64_t first) {
    MININN_UNROLL for (int i = 0; i < kCount; ++i) {
      const int64_t wanted = first + i * kRowsAtOnce, pixel = wanted < q.pixels ? wanted : q.pixels - 1;
      image[i] = q.x + pixel / (q.g.oh * q.g.ow) * q.x_image;
      h[i] = int(pixel / q.g.ow % q.g.oh * q.g.stride_h - q.g.pad_h);
      w[i] = int(pixel % q.g.ow * q.g.stride_w - q.g.pad_w);
    }
  }
  // Bytes of k from number `at` on, of the row's tap.
  __device__ const uint8_t* source(const MmaConvolution& q, int i, int at) const {
    const int tap = at / q.channels, c = at % q.channels;
    const int64_t y = h[i] + tap / int(q.g.kw) * q.g.dil_h, x = w[i] + tap % int(q.g.kw) * q.g.dil_w;
    const bool inside = y >= 0 && y < q.g.ih && x >= 0 && x < q.g.iw && tap < q.g.kh * q.g.kw;
    return inside ? image[i] + y * q.x_row + x * q.x_pixel + c : q.zeros;
  }
};

// kBytes: what every address in x is a multiple of, and the channels of a pixel.
template <int kBytes>
__device__ inline void fetch(const MmaConvolution& q, const Rows& rows, int64_t first_channel, int step,
                             unsigned char* stage) {
  const int row = int(threadIdx.x) / (kStep / kChunk), chunk = int(threadIdx.x) % (kStep / kChunk);
  const int at = step * kStep + chunk * kChunk;
  MININN_UNROLL for (int i = 0; i < Rows::kCount; ++i) {
    unsigned char* const to = stage + swizzled(row + i * kRowsAtOnce, chunk);
    if constexpr (kBytes == 1) {
      for (int b = 0; b < kChunk; b += 4) {
        const uint8_t* const from = rows.source(q, i, at + b);
        for (int j = 0; j < 4; ++j) to[b + j] = from[j];
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

// The warp's share of a stage: 64 x 32 outputs as 4 x 4 products of 16 x 8.
__device__ inline void multiply(const unsigned char* stage, int pixel, int channel, int32_t (&acc)[4][4][4]) {
  const int lane = int(threadIdx.x) % 32;
  const unsigned char *const x = stage, *const w = stage + kPixels * kStep;
  MININN_UNROLL for (int chunk = 0; chunk < kStep / kChunk; chunk += 2) {  // 32 bytes of k
    uint32_t a[4][4], b[2][4];
    MININN_UNROLL for (int i = 0; i < 4; ++i)
        load_matrices(a[i], x + swizzled(pixel + 16 * i + lane % 16, chunk + lane / 16));
    MININN_UNROLL for (int j = 0; j < 2; ++j)
        load_matrices(b[j], w + swizzled(channel + 16 * j + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2));
    MININN_UNROLL for (int i = 0; i < 4; ++i) MININN_UNROLL for (int j = 0; j < 4; ++j)
        multiply_u8_s8(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

template <int kBytes, class Y>
__global__ void __launch_bounds__(kBlockThreads) conv2d_kernel(const __grid_constant__ MmaConvolution q, Y* y) {
  __shared__ __align__(128) unsigned char stages[kStages][kStageBytes];
  const int64_t first_pixel = int64_t(blockIdx.x) * kPixels, first_channel = int64_t(blockIdx.y) * kChannels;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int pixel = warp % 2 * kWarpPixels, channel = warp / 2 * kWarpChannels;
  const bool needed = first_pixel + pixel < q.pixels && first_channel + channel < q.g.oc;
  const Rows rows(q, first_pixel + threadIdx.x / (kStep / kChunk));
  int32_t acc[4][4][4] = {};
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < q.steps) fetch<kBytes>(q, rows, first_channel, step, stages[step]);
    close_copy_group();
  }
  for (int step = 0; step < q.steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // this step's stage is there for all, and nobody reads the one that is filled next
    if (step + kStages - 1 < q.steps)
      fetch<kBytes>(q, rows, first_channel, step + kStages - 1, stages[(step + kStages - 1) % kStages]);
    close_copy_group();
    if (needed) multiply(stages[step % kStages], pixel, channel, acc);
  }
  wait_for_copies<0>();
  MININN_UNROLL for (int i = 0; i < 4; ++i) MININN_UNROLL for (int j = 0; j < 4; ++j)
      MININN_UNROLL for (int e = 0; e < 4; ++e) {
    const int64_t p = first_pixel + pixel + 16 * i + lane / 4 + e / 2 * 8;
    const int64_t o = first_channel + channel + 8 * j + lane % 4 * 2 + e % 2;
    if (p >= q.pixels || o >= q.g.oc) continue;
    store(q, p, o, int32_t(uint32_t(acc[i][j][e]) + uint32_t(bias_of(q, p, o))), y);
  }
}

}  // namespace mininn::cuda::own::mma
