// What ops do to their operands before a kernel sees them: checks, and a copy where the layout does not fit.
#pragma once

#include <algorithm>

#include "core/tensor.h"
#include "ops/conv2d.h"
#include "ops/layout.h"

namespace mininn::detail {

// Throws DTypeError unless `t` is f32, f64 or bf16.
inline void require_floating(const char* op, const char* what, const Tensor& t) {
  if (!is_floating(t.dtype()))
    throw DTypeError(message(op, ": ", what, " must be f32, f64 or bf16, not ", name(t.dtype())));
}

// Throws DTypeError or DeviceError unless `t` has this dtype and lies on this device.
inline void require(const char* op, const char* what, const Tensor& t, DType dtype, Device device) {
  if (t.dtype() != dtype)
    throw DTypeError(message(op, ": ", what, " must be ", name(dtype), " here, not ", name(t.dtype())));
  if (t.device() != device)
    throw DeviceError(
        message(op, ": ", what, " lies on ", to_string(t.device()), ", but must be on ", to_string(device)));
}

// Throws ShapeError unless `t` has this shape.
inline void require_shape(const char* op, const char* what, const Tensor& t, const Shape& shape) {
  if (t.shape() != shape) throw ShapeError(message(op, ": ", what, " must be ", shape, " here, not ", t.shape()));
}

// The number of positions along one axis where a window of `extent` pixels fits into `in` pixels with `pad` more on
// each side; 0 if there is none. Throws ShapeError if a padded size overflows.
inline int64_t window_positions(const char* op, int64_t in, int64_t pad, int64_t extent, int64_t stride) {
  const int64_t padded = checked_add(op, in, checked_mul(op, pad, 2));
  return padded < extent ? 0 : (padded - extent) / stride + 1;
}

// Throws ShapeError unless a kernel can step over the padding of [n, c, h, w] images, and by a stride, in pointer
// arithmetic: a map of that size must be addressable although it never exists.
inline void require_addressable(const char* op, int64_t n, int64_t c, Hw padded, Hw stride) {
  const Shape reach{n, c, std::max(padded.h, stride.h), std::max(padded.w, stride.w)};
  checked_mul(op, numel(reach), int64_t(sizeof(double)));
}

// `t` itself if it lies in memory in this order without gaps, else a copy that does. Neither differentiable nor traced:
// it changes where elements lie, not what they are.
inline Tensor dense(const Tensor& t, MemoryFormat format = MemoryFormat::contiguous) {
  if (format == MemoryFormat::channels_last ? t.is_channels_last() : t.is_contiguous()) return t;
  Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device(), format);
  kernels<op::Copy>().run({t.view(), copy.mutable_view()}, t.device());
  return copy;
}

// What a kernel gets of an optional operand: absent if undefined.
inline CView optional_view(const Tensor& t) { return t ? t.view() : CView(); }

}  // namespace mininn::detail
