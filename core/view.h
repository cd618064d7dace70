// What kernels see of a tensor: where it lies and how it is laid out. No ownership, no autograd, no exceptions.
#pragma once

#include "core/dtype.h"
#include "core/shape.h"

namespace mininn {

template <class Byte>
struct BasicView {
  Byte* data = nullptr;  // the first element; null: the operand is absent
  Shape shape;
  Strides strides;
  DType dtype = DType::f32;

  BasicView() = default;
  BasicView(Byte* d, const Shape& sh, const Strides& st, DType t) : data(d), shape(sh), strides(st), dtype(t) {}
  // A writable view may be read.
  template <class Other>
  requires(std::is_const_v<Byte> && !std::is_const_v<Other>) BasicView(const BasicView<Other>& o)
      : data(o.data), shape(o.shape), strides(o.strides), dtype(o.dtype) {}

  explicit operator bool() const { return data != nullptr; }
  template <class T>
  auto* as() const {
    using P = std::conditional_t<std::is_const_v<Byte>, const T*, T*>;
    return reinterpret_cast<P>(data);
  }
  int64_t size() const { return numel(shape); }
  bool contiguous() const { return is_contiguous(shape, strides); }
  bool channels_last() const { return is_channels_last(shape, strides); }
};

using View = BasicView<std::byte>;
using CView = BasicView<const std::byte>;

// The element offset of logical index `i` (row-major count), for kernels that walk arbitrary strides.
inline int64_t offset_of(const Shape& shape, const Strides& strides, int64_t i) {
  int64_t off = 0;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    off += (i % shape[d]) * strides[d];
    i /= shape[d];
  }
  return off;
}

}  // namespace mininn
