// The convolutions of implicit_gemm.h on the tensor cores of sm_90a, which warpgroups feed from shared memory. Again
// codes and bf16 differ in the instruction alone.
//
// A block makes a tile of 128 pixels x 64 or 128 channels with two warpgroups, each 64 pixels of it. One more warp has
// a single thread at work: it fills a ring of stages in shared memory, each 64 bytes of k, by two copies. One brings
// the pixels of a tap straight from the image, which the hardware walks by itself (im2col); one brings the weights,
// which are packed as they lie in a stage. A barrier for each stage tells when it is full, another one when all have
// multiplied it. So no thread computes addresses of pixels, loads operands to registers or stops at a barrier of the
// whole block, as those of the kernel with mma.sync do; and a tile of 128 channels reads a third less than two of 64.
// While a block stores its results, others of the multiprocessor multiply.
//
// What lies beyond the edge of an image comes as zeros. Where the code of zero is another one, the result is put right
// at the border (int8/conv_wgmma.cu).
#pragma once

#include "cuda/device_sm90.h"
#include "cuda/own/implicit_gemm.h"
#include "cuda/tensor_map.h"

namespace mininn::cuda::own::wgmma {

using mma::kChunk, mma::kStep, mma::Size, mma::swizzled;

inline constexpr int kPixels = 128, kGroups = 2, kGroupPixels = kPixels / kGroups, kGroupWarps = 4, kStages = 6;
inline constexpr int kMultiplyingWarps = kGroups * kGroupWarps, kBlockThreads = 32 * (kMultiplyingWarps + 1);
inline constexpr int kTileColumns = 8;  // of sums
static_assert(kPixels == kMapPixels && kStep == kMapBytes && kGroupPixels == 64);

constexpr int stage_bytes(int columns) { return (kPixels + columns) * kStep; }

// Of the channels of a result a block makes so many.
constexpr int columns_at_once(int64_t columns) { return round_up(columns, int64_t{64}) % 128 == 0 ? 128 : 64; }

// Of a k of so many taps with `channels` bytes each: every tap begins a step.
constexpr int64_t steps_of(int64_t taps, int64_t channels) { return taps * ceil_div(channels, int64_t(kStep)); }

// Packed weights are the stages' one behind the other, for each block of columns. Bytes of all, with zeros behind the
// last channel of a tap and behind the last column, and where among them byte `at` of a column's step is.
constexpr int64_t weight_bytes(int64_t columns, int64_t steps) {
  return round_up(columns, int64_t(columns_at_once(columns))) * steps * kStep;
}
constexpr int64_t place_of_weight(int64_t columns, int64_t steps, int64_t column, int64_t step, int at) {
  const int block = columns_at_once(columns);
  return (column / block * steps + step) * block * kStep + swizzled(int(column % block), at / kChunk) + at % kChunk;
}

// Both sides of the product, but for the map of the images.
struct Operands {
  Size result, taps, stride, pad, dil;
  const unsigned char* w;
  int64_t pixels, columns;  // of the result, pixels of all images
  int steps, channels;      // of k; elements of a pixel
  int step_channels;        // elements of kStep bytes

  Operands(const Conv2dGeometry& g, int element_bytes, const unsigned char* weights)
      : result{int(g.oh), int(g.ow)},
        taps{int(g.kh), int(g.kw)},
        stride{int(g.stride_h), int(g.stride_w)},
        pad{int(g.pad_h), int(g.pad_w)},
        dil{int(g.dil_h), int(g.dil_w)},
        w(weights),
        pixels(g.n * g.oh * g.ow),
        columns(g.oc),
        steps(int(steps_of(g.kh * g.kw, g.ic * element_bytes))),
        channels(int(g.ic)),
        step_channels(kStep / element_bytes) {}
};

// A stage of the ring as one side goes through it, and the parity of the phase that ends with this round.
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// The barriers of the stages.
struct Ring {
  uint64_t full[kStages], empty[kStages];
};

// What the one thread does.
template <int kColumns>
__device__ inline void fill_ring(const CUtensorMap& x, const Operands& q, Ring& ring, unsigned char* stages) {
  const int pixel = int(blockIdx.x) * kPixels, row = pixel / q.result.w, n = row / q.result.h;
  PixelAt from{0, (pixel - row * q.result.w) * q.stride.w - q.pad.w, (row - n * q.result.h) * q.stride.h - q.pad.h, n};
  const unsigned char* w = q.w + int64_t(blockIdx.y) * q.steps * kColumns * kStep;
  Turn turn;
  for (int tap_h = 0; tap_h < q.taps.h; ++tap_h)
    for (int tap_w = 0; tap_w < q.taps.w; ++tap_w)
      for (from.channel = 0; from.channel < q.channels; from.channel += q.step_channels) {
        unsigned char* const stage = stages + turn.stage * stage_bytes(kColumns);
        uint64_t* const full = &ring.full[turn.stage];
        wait_for_phase(&ring.empty[turn.stage], turn.parity ^ 1);
        arrive_and_expect(full, stage_bytes(kColumns));
        copy_pixels(stage, x, from, uint16_t(tap_w * q.dil.w), uint16_t(tap_h * q.dil.h), full);
        copy_bulk(stage + kPixels * kStep, w, kColumns * kStep, full);
        w += kColumns * kStep;
        turn.next();
      }
}

// What a warpgroup does with its pixels of each stage.
template <class Acc, int kColumns>
__device__ inline void multiply(int steps, int group, Ring& ring, const unsigned char* stages,
                                Acc (&sums)[kColumns / kTileColumns][4]) {
  const bool speaks = threadIdx.x % 32 == 0;  // for its warp
  Turn turn;
  uint64_t* multiplied = nullptr;  // the barrier of the stage before
  for (int step = 0; step < steps; ++step) {
    const uint32_t x = shared_address(stages + turn.stage * stage_bytes(kColumns)), w = x + kPixels * kStep;
    wait_for_phase(&ring.full[turn.stage], turn.parity);
    fence_products(sums);
    MININN_UNROLL for (int part = 0; part < kStep / kChunk; part += 2)
        start_product(sums, matrix_of_rows(x + uint32_t(group * kGroupPixels * kStep), part), matrix_of_rows(w, part));
    close_product_group();
    wait_for_products<1>(sums);
    if (speaks && multiplied) arrive(multiplied);
    multiplied = &ring.empty[turn.stage];
    turn.next();
  }
  wait_for_products<0>(sums);
}

// `finish` as in implicit_gemm.h.
template <class Acc, int kColumns, class Finish>
__global__ void __launch_bounds__(kBlockThreads)
    wgmma_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ Operands q,
                 const __grid_constant__ Finish finish) {
#ifdef MININN_SM90A
  MININN_DYNAMIC_SHARED(stages);
  __shared__ Ring ring;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      init_barrier(&ring.full[i], 1);
      init_barrier(&ring.empty[i], kMultiplyingWarps);
    }
    fence_async_proxy();
  }
  __syncthreads();
  const int warp = int(threadIdx.x) / 32;
  if (warp == kMultiplyingWarps) {
    if (threadIdx.x % 32 == 0) fill_ring<kColumns>(x, q, ring, stages);
    return;
  }
  Acc sums[1][kColumns / kTileColumns][4] = {};
  multiply<Acc, kColumns>(q.steps, warp / kGroupWarps, ring, stages, sums[0]);
  mma::store_warp(sums, int64_t(blockIdx.x) * kPixels + warp * (kGroupPixels / kGroupWarps), q.pixels,
                  int64_t(blockIdx.y) * kColumns, q.columns, [&](int64_t p, int64_t c) { return finish.row(p, c); });
#endif
}

// Whether the kernel can count so far, and runs where this thread is.
inline Refusal check_call(const Conv2dGeometry& g, const Images& x) {
  if (g.groups != 1) return {"has groups"};
  if (current_capability() != 90) return {"needs a device of compute capability 9.0"};
  if (g.n * g.oh * g.ow > 0x7fffff00 || ceil_div(g.oc, int64_t(64)) > 65535 ||
      steps_of(g.kh * g.kw, g.ic * int64_t(size_of(x.dtype))) > 0x3fffffff)
    return {"too large for its grid or its indices"};
  return check_map(g, x);
}

// Little of a step should be behind a pixel's channels.
inline bool fills_steps(int64_t channel_bytes) {
  return 4 * channel_bytes >= 3 * round_up(channel_bytes, int64_t(kStep));
}

template <class Acc, class Finish>
void convolve(const Conv2dGeometry& g, const Images& x, const unsigned char* w, const Finish& finish,
              const ExecContext& at) {
  (void)stream_of(at.stream);
  // The address or the device, which is current now, may be another one than was asked for.
  if (const Refusal r = check_call(g, x)) throw KernelError(message("own.wgmma: ", r.why));
  const Operands q(g, int(size_of(x.dtype)), w);
  if (q.pixels * q.columns == 0) return;
  const auto start = [&]<int kColumns>(std::integral_constant<int, kColumns>) {
    const Grid grid{
        dim3(unsigned(ceil_div(q.pixels, int64_t(kPixels))), unsigned(ceil_div(q.columns, int64_t(kColumns)))),
        kBlockThreads, kStages * stage_bytes(kColumns)};
    launch(wgmma_kernel<Acc, kColumns, Finish>, grid, at, make_map(g, x), q, finish);
  };
  if (columns_at_once(q.columns) == 128)
    start(std::integral_constant<int, 128>());
  else
    start(std::integral_constant<int, 64>());
}

}  // namespace mininn::cuda::own::wgmma
