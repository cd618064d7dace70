// Between a matrix as an op stores it and the panels that the fp32 tiles read (own/float/tiles.h).
#pragma once

#include <cstdint>

#include "core/integers.h"
#include "core/shape.h"
#include "cpu_kernels/own/float/tiles.h"

namespace mininn::cpu::own {

// The size of a packed matrix B[tap][k][column] and the strides of its elements outside.
struct MatrixLayout {
  int64_t columns = 0, k = 0, taps = 1;
  int64_t column_stride = 0, k_stride = 0, tap_stride = 1;

  int64_t panels(const TilesF32& t) const { return ceil_div(columns, t.nr); }
  int64_t panel_size(const TilesF32& t) const { return checked_mul("a packed panel", taps * k, t.nr); }
  int64_t packed_size(const TilesF32& t) const { return checked_mul("packed panels", panels(t), panel_size(t)); }
};

// dst[panel][tap][k][nr] from src, in parallel; missing columns become zero.
void pack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst);

// One panel of it, in this thread.
void pack_panel(const TilesF32& t, const MatrixLayout& m, const float* src, int64_t panel, float* dst);

// The reverse, for a matrix whose (k, tap) pairs lie one after the other outside, as in OIHW weights.
void unpack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst);

}  // namespace mininn::cpu::own
