#include "cpu_kernels/own/int8/conv/strips.h"

#include <algorithm>

#include "core/integers.h"

namespace mininn::cpu::own {

Tensor pack_strips(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  const StripDepth depth(g);
  const int64_t w_block = depth.size * kStripLanes;
  QPacking packing = pack_bias_rows(a, 1, kStripLanes, w_block, 0, is_wide(g));
  const auto* const w = a.w.as<int8_t>();
  parallel_for(g.oc, 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int8_t* const block = packing.w + o / kStripLanes * w_block + o % kStripLanes * 4;
      for (int64_t c = 0; c < g.ic; ++c)
        for (int64_t kh = 0; kh < g.kh; ++kh)
          for (int64_t kw = 0; kw < g.kw; ++kw) {
            const int64_t v = depth.value(kh, kw, c);
            block[v / 4 * kStripLanes * 4 + v % 4] = w[((o * g.ic + c) * g.kh + kh) * g.kw + kw];
          }
    }
  });
  return std::move(packing.buffer);
}

StripSource strip_source(const op::QConv2d& a) {
  return {.g = a.g,
          .x = a.x.as<uint8_t>(),
          .image = a.x.strides[0],
          .row = a.x.strides[2],
          .pixel = a.x.strides[3],
          .out_pixel = a.g.oc};
}

QStripWalk::QStripWalk(const op::QConv2d& conv, const StripInput& strips, const PackedQConv& packed, int64_t step_bytes)
    : StripWalk(strips, step_bytes),
      a(conv),
      g(conv.g),
      pk(packed),
      y_pixel(a.y.dtype == DType::f32 ? g.oc * 4 : a.y.strides[3]),
      residual_pixel(a.residual ? a.residual.strides[3] : 0),
      sink{.y_step = y_pixel * input.pixel_step(),
           .residual_step = residual_pixel * input.pixel_step(),
           .residual_scale = a.residual_scale,
           .residual_zero = a.residual_zero,
           .f32 = a.y.dtype == DType::f32,
           .range = code_range(a.y_zero, a.lo, a.hi)},
      bias_tiles(4 * kStrip * kStripLanes) {
  k.pitch = input.pitch();
  k.step = steps.data();
  k.bias_pitch = pk.bias_rows == 1 ? 0 : 4 * (input.in_rows() ? pk.bias_stride : kStripLanes);
}

void QStripWalk::set_blocks(int64_t block, int64_t end, int64_t multiplied) {
  columns = multiplied;
  present = std::min(end, pk.blocks) - block;
  channel = block * kStripLanes;
  channels = std::min(present * kStripLanes, g.oc - channel);
  k.w = pk.w + block * pk.w_block;
  for (int64_t v = 0; v < columns; ++v) {
    k.w_block[v] = v < present ? v * pk.w_block : 0;
    bias[v] = pk.bias + (v < present ? block + v : block) * kStripLanes;
  }
}

// What the accumulators of strip `m` of a call and block `v` begin with.
const int32_t* QStripWalk::bias_of(const Strip& s, int64_t m, int64_t v) {
  const auto row = [&](int64_t pixel) {
    return bias[v] + (pk.row[pixel / g.ow % g.oh] + pk.col[pixel % g.ow]) * pk.bias_stride;
  };
  if (pk.bias_rows == 1) return bias[v];
  if (input.in_rows()) return row(s.pixel);
  int32_t* const tile = bias_tiles.data() + (m * columns + v) * kStrip * kStripLanes;
  for (int r = 0; r < kStrip; ++r)
    std::copy_n(row(s.pixel + std::min(r, s.last - 1) * input.pixel_step()), kStripLanes, tile + r * kStripLanes);
  return tile;
}

void QStripWalk::set_strips(const Strip* strips, int64_t count, StripTarget& t) {
  set_steps(strips[0]);
  k.steps = step_count;
  t.multiplier = a.multiplier.as<float>() + channel;
  t.columns = columns;
  t.channels = channels;
  t.whole = channels == columns * kStripLanes && !sink.f32;
  for (int64_t m = 0; m < count; ++m) {
    const Strip& s = strips[m];
    load(s);
    t.y[m] = a.y.data + s.pixel * y_pixel + channel * (sink.f32 ? 4 : 1);
    t.residual[m] = residual_pixel ? a.residual.as<uint8_t>() + s.pixel * residual_pixel + channel : nullptr;
    t.first[m] = s.first;
    t.last[m] = s.last;
    t.whole &= s.first == 0 && s.last == kStrip;
    k.x[m] = reinterpret_cast<const uint8_t*>(s.origin);
    for (int64_t v = 0; v < columns; ++v) k.bias[m * columns + v] = bias_of(s, m, v);
  }
}

}  // namespace mininn::cpu::own
