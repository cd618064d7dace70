// How int8 activations lie in memory: pixel by pixel, as ops/qconv2d.h describes.
#pragma once

#include <span>

#include "core/integers.h"
#include "core/qparams.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

// Options of an op whose result is codes.
struct QResult {
  QParams y;                 // what they stand for
  int32_t lo = 0, hi = 255;  // clamp of the codes: the activation function
};
template <class F>
void each_field(QResult& o, const F& field) {
  each_field(o.y, field);
  field("lo", o.lo);
  field("hi", o.hi);
}

// The smallest pixel stride for `channels` channels: kernels read four channels at once.
constexpr int64_t min_pixel_stride(int64_t channels) { return round_up(channels, 4); }

// {H*W*p, 1, W*p, p} for [N,C,H,W] codes with pixel stride p.
Strides pixel_strides(const Shape& nchw, int64_t pixel_stride);

// True for [N,C,H,W] with exactly the strides above, p >= C and p a multiple of 4.
bool is_pixel_strided(const Shape& shape, const Strides& strides);

// Throws DTypeError or ShapeError naming `op` and `what` unless `v` is u8 and pixel-strided.
void check_codes(const char* op, const char* what, const CView& v);

// Throws ValueError naming `op` unless zero is a code and 0 <= lo <= hi <= 255.
void check_code_range(const char* op, int32_t zero, int32_t lo, int32_t hi);

// Throws ValueError naming `op` and `what` unless `scale` is finite and positive.
void check_scale(const char* op, const char* what, float scale);

// Throws ValueError naming `op` and output channel `o` unless its accumulator stays within int32:
// x_max * sum |w| + bias_max < 2^31.
void check_accumulator(const char* op, int64_t o, std::span<const int8_t> w, int64_t x_max, int64_t bias_max);

// What the codes `t` stand for. Throws ValueError for an undefined tensor, DTypeError unless it is u8 with qparams(),
// ShapeError unless it is pixel-strided; all name `op` and `what`.
QParams codes_of(const char* op, const char* what, const Tensor& t);
// The same of a tensor that does not exist yet. Throws DTypeError unless it is codes, ShapeError unless [N,C,H,W].
QParams codes_of(const char* op, const char* what, const TensorInfo& t);
// A result [N,C,H,W] of codes, clamped to lo..hi. Throws ValueError for a grid or bounds that no codes have.
TensorInfo codes_info(const char* op, const Shape& shape, const QParams& q, int32_t lo = 0, int32_t hi = 255);

// `shape`, or ShapeError if it is no [N,C,H,W].
const Shape& check_map(const char* op, const Shape& shape);

// Uninitialised u8 codes [N,C,H,W], pixel-strided. `pixel_stride` 0 means the smallest. Throws ShapeError for a rank
// other than 4 or a pixel stride that is too small or no multiple of 4.
Tensor empty_codes(const Shape& nchw, int64_t pixel_stride = 0, Device device = Device::cpu());

}  // namespace mininn
