// What kernels of int8 convolutions compute at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_kernels/own/int8/requant.h"

namespace mininn::cpu::own {

inline constexpr int kTilePixels = 16;  // most pixels of a tile

// One call of a tile function: pixels x channels outputs. Plain data, so that target regions call no inline functions.
struct QTile {
  int taps = 0;
  int64_t steps = 0;                    // dwords of input channels per tap
  const uint8_t* const* x = nullptr;    // [taps][kTilePixels]
  const uint8_t* padding = nullptr;     // where the pointers of pixels lead that have no such tap: zeros
  const int64_t* tap_offset = nullptr;  // [taps]: bytes into a block of weights
  const int8_t* w = nullptr;            // the first block
  int64_t w_block = 0;                  // bytes from a block of weights to the next

  int pixels = 0;                        // to be stored; the pointers of the others repeat a stored pixel's
  int64_t channel = 0;                   // the first output channel
  int64_t channels = 0;                  // to be stored
  int64_t bias_channel = 0;              // where the first channel is in a (padded) bias row
  const int32_t* bias[kTilePixels];      // a pixel's row
  const uint8_t* residual[kTilePixels];  // channel 0 of a pixel, if there is a residual
  std::byte* y[kTilePixels];             // channel 0 of a pixel

  const float* multiplier = nullptr;  // [oc]
  bool has_residual = false;
  float residual_scale = 0;
  int32_t residual_zero = 0;
  bool f32 = false;  // y is f32, and not codes within `range`
  CodeRange range{};
};
using QTileFn = void (*)(const QTile&);

}  // namespace mininn::cpu::own
