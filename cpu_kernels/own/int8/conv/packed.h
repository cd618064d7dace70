// What kernels that pack their weights pack with them: the bias of every kind of output pixel. The input's zero point
// is folded into it over the taps that exist for the pixel, and the bias classes of ops/qconv2d.h are in it.
#pragma once

#include <cstdint>

#include "ops/qconv2d.h"

namespace mininn::cpu::own {

// Why no kernel that multiplies four input channels of a tap at once takes the call.
Refusal check_packed(const op::QConv2d& a);

// A packed buffer that has its bias rows, and zeros for weights.
struct QPacking {
  Tensor buffer;
  int8_t* w;       // 64-byte aligned: [groups][blocks][w_block]
  int64_t blocks;  // per group: the output channels of one, `lanes` at a time
};
// Throws what check_qconv2d_constants() throws. of_each_column: where there is more than one bias row, neighbouring
// columns' rows follow each other.
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
PackedQConv unpack(const op::QConv2d& a);

}  // namespace mininn::cpu::own
