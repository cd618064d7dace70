// Direct int8 convolution, shared by every instruction set: weight layout, bias folding and the walk over tiles.
//
// Packed weights: per block of `lanes` output channels, per tap, per four input channels: [lanes][4] s8, so that one
// vector load meets four input channels broadcast as a dword. Blocks never cross a group; missing channels are zeros.
//
// Padding adds nothing. A tile is a handful of output pixels; a tap that falls on padding for all of them is skipped,
// and one that does for some reads a zero pixel there. The input's zero point is folded into the bias over the taps
// that do exist: pixels with different taps have different bias rows, which pack() writes down once. The same rows
// carry the bias classes of ops/qconv2d.h.
//
// Where a tap has few input channels (the stem of a network), tiles would spend their time between taps. Then the input
// of each output pixel, all channels of all taps one after the other, is copied into one row, which the tile functions
// see as a single tap. Weights are packed in the same order.
//
// Integer sums may wrap on the way: arithmetic modulo 2^32 and a final value within int32 make the result exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "cpu_kernels/own/requant.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

inline constexpr int kTilePixels = 16;    // most pixels of a tile
inline constexpr int64_t kMaxTaps = 128;  // kh * kw

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

// What a family of tile functions can do.
struct QDirectIsa {
  int lanes;                 // output channels per block
  int pixels;                // most pixels per call
  int blocks;                // most blocks per call
  int quantum;               // a call takes about as long as one with the next multiple of this many pixels
  int64_t weights_in_cache;  // bytes of weights that stay in the L2 cache while the pixels pass by
  // The input as the kernel wants to see it: 0 for u8, 128 where x XOR 0x80 is multiplied as s8.
  int recode;
  QTileFn (*tile)(int pixels, int blocks);  // a function for at least that many pixels and blocks
  // Each output channel reads the input channel of the same number. A tile then has all taps and one group of channels,
  // and `steps` and `tap_offset` mean nothing.
  bool depthwise = false;
};

// Null, or why no direct kernel with dword input channels takes the call.
Refusal check_direct(const op::QConv2d& a);
// Taps [first, last) of one dimension whose input coordinate exists for output coordinate `o`.
std::pair<int64_t, int64_t> valid_taps(int64_t o, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil);
// The share of `threads` threads' time that n equal items keep busy.
double balance(int64_t n, int64_t threads);
// The share of all (output pixel, tap) pairs that fall on padding.
double padding_share(const Conv2dGeometry& g);
Tensor pack_direct(const op::QConv2d& a, int lanes, int recode);
void run_direct(const op::QConv2d& a, const QDirectIsa& isa);
// Whether its tiles are pixels of one position in several images: then all have the same taps.
bool tiles_across_images(const op::QConv2d& a, const QDirectIsa& isa);

// A packed buffer that has its bias rows, and zeros for weights.
struct QPacking {
  Tensor buffer;
  int8_t* w;       // 64-byte aligned: [groups][blocks][w_block]
  int64_t blocks;  // per group: the output channels of one, `lanes` at a time
};
// of_each_column: where there is more than one bias row, neighbouring columns' rows follow each other.
QPacking pack_bias_rows(const op::QConv2d& a, int64_t groups, int64_t lanes, int64_t w_block, int recode,
                        bool of_each_column = false);

// The parts of a packed buffer.
struct PackedQConv {
  const int32_t* row;  // [oh], [ow]: an output pixel's bias row is row[oh] + col[ow]
  const int32_t* col;
  const int32_t* bias;  // [rows][bias_stride]
  const int8_t* w;
  int64_t bias_rows;  // one: it does not depend on the pixel
  int64_t bias_stride;
  int64_t blocks;   // per group
  int64_t w_block;  // bytes
};
PackedQConv unpack_direct(const op::QConv2d& a);

}  // namespace mininn::cpu::own
