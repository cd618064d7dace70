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

#include <cstdint>

#include "cpu_kernels/own/int8/conv/packed.h"
#include "cpu_kernels/own/int8/conv/tile.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

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

Tensor pack_direct(const op::QConv2d& a, int lanes, int recode);
void run_direct(const op::QConv2d& a, const QDirectIsa& isa);
// Whether its tiles are pixels of one position in several images: then all have the same taps.
bool tiles_across_images(const op::QConv2d& a, const QDirectIsa& isa);

}  // namespace mininn::cpu::own
