#include "ops/qlayout.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace mininn {

Strides pixel_strides(const Shape& nchw, int64_t pixel_stride) {
  return {nchw[2] * nchw[3] * pixel_stride, 1, nchw[3] * pixel_stride, pixel_stride};
}

bool is_pixel_strided(const Shape& shape, const Strides& strides) {
  if (shape.rank() != 4 || strides.rank() != 4) return false;
  const int64_t p = strides[3];
  return p >= shape[1] && p % 4 == 0 && strides == pixel_strides(shape, p);
}

void check_codes(const char* op, const char* what, const CView& v) {
  if (v.dtype != DType::u8) throw DTypeError(message(op, ": ", what, " must be u8, not ", name(v.dtype)));
  if (!is_pixel_strided(v.shape, v.strides))
    throw ShapeError(message(op, ": ", what, " must be [N,C,H,W] stored pixel by pixel (see ops/qlayout.h), not ",
                             v.shape, " with strides ", v.strides));
}

void check_code_range(const char* op, int32_t zero, int32_t lo, int32_t hi) {
  if (zero < 0 || zero > 255) throw ValueError(message(op, ": zero point ", zero, " is not in 0..255"));
  if (lo < 0 || lo > hi || hi > 255) throw ValueError(message(op, ": bounds ", lo, "..", hi, " are not within 0..255"));
}

void check_scale(const char* op, const char* what, float scale) {
  if (!std::isfinite(scale) || scale <= 0) throw ValueError(message(op, ": ", what, " must be positive, not ", scale));
}

void check_accumulator(const char* op, int64_t o, std::span<const int8_t> w, int64_t x_max, int64_t bias_max) {
  int64_t sum = 0;
  for (const int8_t v : w) sum += std::abs(int{v});
  if (sum > (std::numeric_limits<int32_t>::max() - bias_max) / std::max<int64_t>(x_max, 1))
    throw ValueError(message(op, ": the accumulator of output channel ", o, " can leave 32 bits"));
}

QParams codes_of(const char* op, const char* what, const Tensor& t) {
  if (!t) throw ValueError(message(op, ": ", what, " is undefined"));
  if (t.dtype() != DType::u8 || !t.qparams())
    throw DTypeError(message(op, ": ", what, " must be u8 codes that quantize() or another op on codes has made, not ",
                             name(t.dtype()), t.qparams() ? "" : " without qparams()"));
  check_codes(op, what, t.view());
  return *t.qparams();
}

QParams codes_of(const char* op, const char* what, const TensorInfo& t) {
  if (t.dtype != DType::u8 || !t.qparams)
    throw DTypeError(message(op, ": ", what, " must be codes, not ", name(t.dtype)));
  check_map(op, t.shape);
  return *t.qparams;
}

TensorInfo codes_info(const char* op, const Shape& shape, const QParams& q, int32_t lo, int32_t hi) {
  check_map(op, shape);
  check_scale(op, "the scale", q.scale);
  check_code_range(op, q.zero_point, lo, hi);
  if (lo > q.zero_point || q.zero_point > hi)
    throw ValueError(message(op, ": bounds ", lo, "..", hi, " leave out the zero point ", q.zero_point));
  return {shape, DType::u8, q};
}

const Shape& check_map(const char* op, const Shape& shape) {
  if (shape.rank() != 4) throw ShapeError(message(op, ": x must be [N,C,H,W], not ", shape));
  return shape;
}

Tensor empty_codes(const Shape& nchw, int64_t pixel_stride, Device device) {
  if (nchw.rank() != 4) throw ShapeError(message("empty_codes: the shape must be [N,C,H,W], not ", nchw));
  if (pixel_stride == 0) pixel_stride = min_pixel_stride(checked_add("empty_codes", nchw[1], 3) - 3);
  if (pixel_stride < nchw[1] || pixel_stride % 4 != 0)
    throw ShapeError(message("empty_codes: pixel stride ", pixel_stride, " does not fit ", nchw));
  const Tensor bytes = Tensor::empty({nchw[0], nchw[2], nchw[3], pixel_stride}, DType::u8, device);
  return bytes.as_strided(nchw, pixel_strides(nchw, pixel_stride));
}

}  // namespace mininn
