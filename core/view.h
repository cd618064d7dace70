// What kernels see of a tensor: where it lies and how it is laid out. No ownership, no autograd, no exceptions.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>

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

// Whether the bytes that two views span meet. (They may still not share an element.)
inline bool may_overlap(const CView& a, const CView& b) {
  const auto span = [](const CView& v) {
    int64_t lowest = 0, highest = 0;
    for (int d = 0; d < v.shape.rank(); ++d) (v.strides[d] < 0 ? lowest : highest) += (v.shape[d] - 1) * v.strides[d];
    const auto element = int64_t(size_of(v.dtype)), data = std::bit_cast<int64_t>(v.data);
    return std::pair(data + lowest * element, data + (highest + 1) * element);
  };
  if (a.size() == 0 || b.size() == 0) return false;
  const auto [a_begin, a_end] = span(a);
  const auto [b_begin, b_end] = span(b);
  return a_begin < b_end && b_begin < a_end;
}

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
