// What int8 convolutions on strips (cpu_kernels/common/strips.h) have in common.
#pragma once

#include <cstdint>

#include "cpu_kernels/common/strips.h"
#include "cpu_kernels/own/int8/conv/packed.h"
#include "cpu_kernels/own/int8/conv/tile.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

Tensor pack_strips(const op::QConv2d& a);

// What a call multiplies: strips by blocks.
struct StripOperands {
  const StripStep* step;
  int64_t steps;
  const uint8_t* x[2];  // of each strip
  int64_t pitch;        // from a row of a strip to the next
  const int8_t* w;
  int64_t w_block[4];      // from `w` to each block; a missing one repeats the first
  const int32_t* bias[4];  // what the accumulators of each strip and block, blocks innermost, begin with
  int64_t bias_pitch;      // bytes from a row to the next
};

// The output side of a convolution.
struct StripSink {
  int64_t y_step, residual_step;  // bytes from a row of a strip to the next; no residual: 0
  float residual_scale;
  int32_t residual_zero;
  bool f32;
  CodeRange range;
};

// What a call writes: its strips at its channels.
struct StripTarget {
  std::byte* y[2];  // of row 0
  const uint8_t* residual[2];
  int first[2], last[2];  // the rows
  const float* multiplier;
  int64_t columns;   // blocks that were multiplied
  int64_t channels;  // to be written
  bool whole;        // all rows and all channels of the columns, as codes
};

// A thread's way through units of strips and pairs of blocks.
class QStripWalk : protected StripWalk {
 public:
  QStripWalk(const op::QConv2d& conv, const StripInput& strips, const PackedQConv& packed, int64_t step_bytes);

 protected:
  // Blocks [block, end) for the calls that follow, of which the last may not exist; `columns` are multiplied.
  void set_blocks(int64_t block, int64_t end, int64_t columns);
  // Strips for the next call, `count` of them: copies what they read, where that has not been done, and fills k and t.
  void set_strips(const Strip* strips, int64_t count, StripTarget& t);

  const op::QConv2d& a;
  const Conv2dGeometry& g;
  const PackedQConv& pk;
  const int64_t y_pixel, residual_pixel;  // bytes
  const StripSink sink;
  StripOperands k{};

 private:
  const int32_t* bias_of(const Strip& s, int64_t m, int64_t v);

  Scratch<int32_t> bias_tiles;  // [4][16 rows][16], where a strip is no part of an output row
  int64_t columns = 0, present = 0, channel = 0, channels = 0;  // of the blocks
  const int32_t* bias[4];                                       // of each block
};

StripSource strip_source(const op::QConv2d& a);

// Shares a call out among threads: Walk(a, input, packed).run(unit0, unit1, pair0, pair1) on each. Walk::kLongStrips:
// see StripInput.
template <class Walk>
void run_strips(const op::QConv2d& a) {
  const PackedQConv pk = unpack(a);
  const StripSource source = strip_source(a);
  using Long = StripInput::Long;
  const Long long_strips = !Walk::kLongStrips ? Long::no : a.row_class ? Long::in_rows : Long::anywhere;
  const StripInput input(source, long_strips);
  share_out_strips(source, input, pk.blocks, pk.w_block,
                   [&](int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
                     Walk(a, input, pk).run(unit0, unit1, pair0, pair1);
                   });
}

}  // namespace mininn::cpu::own
