// Ops that only move elements. Views share storage with their operand; every op here is differentiable and takes every
// dtype. All throw ShapeError naming the op and the shapes.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "core/kernel.h"
#include "core/memory_ops.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

// One size may be -1 and follows from the others. A view where the strides allow one, else a contiguous copy.
Tensor reshape(const Tensor& x, const Shape& shape);

// [d0, .., dk, ..] -> [d0, .., dk * ...] with k = start_dim: reshape for a shape that is not known in advance.
Tensor flatten(const Tensor& x, int start_dim = 1);

// A view whose dimension i is dimension dims[i] of x. Negative dims count from the end.
Tensor permute(const Tensor& x, const DimList& dims);

// A view with two dimensions swapped (traced as permute).
Tensor transpose(const Tensor& x, int a, int b);

// A view broadcast to `shape` by NumPy's rule: new leading dimensions and those of size 1 get stride 0. A size of -1
// stays what it is.
Tensor expand(const Tensor& x, const Shape& shape);

// A view of indices begin, begin + step, ... < end along `dim`. Negative begin and end count from the end.
// 0 <= begin <= end <= size must hold, and step >= 1.
Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t end, int64_t step = 1);

// Joins tensors that agree in all other sizes, dtype and device. Channels-last if all of them are.
Tensor cat(const std::vector<Tensor>& tensors, int dim);

// Surrounds x by `value`: one (before, after) pair per dimension, none negative. Keeps channels-last.
Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& pads, double value = 0);

// The same elements stored without gaps in the given order: x itself if they already are, else a copy.
Tensor contiguous(const Tensor& x, MemoryFormat format = MemoryFormat::contiguous);

struct ShapeOptions {  // of reshape and expand
  Shape shape;
};
template <class F>
void each_field(ShapeOptions& o, const F& field) {
  field("shape", o.shape);
}
struct FlattenOptions {
  int start_dim = 1;
};
template <class F>
void each_field(FlattenOptions& o, const F& field) {
  field("start_dim", o.start_dim);
}
struct PermuteOptions {
  DimList dims;
};
template <class F>
void each_field(PermuteOptions& o, const F& field) {
  field("dims", o.dims);
}
struct SliceOptions {
  int dim = 0;
  int64_t begin = 0, end = 0, step = 1;
};
template <class F>
void each_field(SliceOptions& o, const F& field) {
  field("dim", o.dim);
  field("begin", o.begin);
  field("end", o.end);
  field("step", o.step);
}
struct PadOptions {
  std::vector<std::pair<int64_t, int64_t>> pads;
  double value = 0;
};
template <class F>
void each_field(PadOptions& o, const F& field) {
  field("pads", o.pads);
  field("value", o.value);
}
struct ContiguousOptions {
  MemoryFormat format = MemoryFormat::contiguous;
};
template <class F>
void each_field(ContiguousOptions& o, const F& field) {
  field("format", o.format);
}

namespace opdef {
extern const OpDef reshape, flatten, permute, expand, slice, cat, pad, contiguous;
}

namespace detail {
// The same, neither differentiable nor traced: it changes where elements lie, not what they are.
inline Tensor dense(const Tensor& t, MemoryFormat format = MemoryFormat::contiguous) {
  if (format == MemoryFormat::channels_last ? t.is_channels_last() : t.is_contiguous()) return t;
  Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device(), format);
  kernels<op::Copy>().run({t.view(), copy.mutable_view()}, t.device());
  return t.qparams() ? copy.with_qparams(*t.qparams()) : copy;
}

// The order in which a copy of `t` keeps its elements.
inline MemoryFormat format_of(const Tensor& t) {
  return t.is_channels_last() && !t.is_contiguous() ? MemoryFormat::channels_last : MemoryFormat::contiguous;
}
}  // namespace detail

}  // namespace mininn
