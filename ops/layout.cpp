#include "ops/layout.h"

#include <algorithm>
#include <optional>

#include "core/autograd.h"
#include "core/integers.h"
#include "ops/operand.h"
#include "ops/reduce.h"

namespace mininn {

namespace {

using detail::dense, detail::format_of, detail::Operand;

void copy(const Tensor& x, Tensor y) { kernels<op::Copy>().run({x.view(), y.mutable_view()}, x.device()); }

// Strides with which x's elements, row-major, have `shape`; none if they would have to move.
std::optional<Strides> strides_as(const Tensor& x, const Shape& shape) {
  if (x.numel() == 0 || x.is_contiguous()) return contiguous_strides(shape);
  // Runs of old dimensions that are contiguous among themselves are split into new ones, from the innermost on.
  Strides out = contiguous_strides(shape);
  int to = shape.rank() - 1;
  for (int from = x.rank() - 1; from >= 0;) {
    int64_t stride = x.strides()[from], size = x.shape()[from--];
    while (from >= 0 && (size == 1 || x.shape()[from] == 1 || x.strides()[from] == stride * size)) {
      if (size == 1) stride = x.strides()[from];
      size *= x.shape()[from--];
    }
    for (; to >= 0 && (size > 1 || shape[to] == 1); --to) {
      if (size % shape[to] != 0) return std::nullopt;
      out[to] = stride;
      stride *= shape[to];
      size /= shape[to];
    }
    if (size > 1) return std::nullopt;
  }
  return out;
}

Tensor reshaped(const Tensor& x, const Shape& shape) {
  if (const auto strides = strides_as(x, shape)) return x.as_strided(shape, *strides);
  return dense(x).as_strided(shape, contiguous_strides(shape));
}

struct ReshapeBackward {
  static constexpr const char* op = "reshape";
  Shape x;
  Grads backward(const Tensor& gy, const Wants&) const { return {reshaped(gy, x)}; }
};

struct FlattenBackward {
  static constexpr const char* op = "flatten";
  Shape x;
  Grads backward(const Tensor& gy, const Wants&) const { return {reshaped(gy, x)}; }
};

Tensor permuted(const Tensor& x, const DimList& dims) {
  Shape shape;
  Strides strides;
  for (const int64_t d : dims) {
    shape.push_back(x.shape()[int(d)]);
    strides.push_back(x.strides()[int(d)]);
  }
  return x.as_strided(shape, strides);
}

struct PermuteBackward {
  static constexpr const char* op = "permute";
  DimList inverse;
  Grads backward(const Tensor& gy, const Wants&) const { return {permuted(gy, inverse)}; }
};

struct ExpandBackward {
  static constexpr const char* op = "expand";
  Shape x;
  Grads backward(const Tensor& gy, const Wants&) const { return {sum_to(gy, x)}; }
};

int64_t slice_size(const SliceOptions& o) { return ceil_div(o.end - o.begin, o.step); }

Tensor sliced(const Tensor& x, int dim, int64_t begin, int64_t end, int64_t step) {
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[dim] = slice_size({dim, begin, end, step});
  if (shape[dim] > 1) strides[dim] *= step;  // else a step of any size
  return x.as_strided(shape, strides, shape[dim] ? begin * x.strides()[dim] : 0);
}

struct SliceBackward {
  static constexpr const char* op = "slice";
  Shape x;
  int dim;
  int64_t begin, end, step;
  Grads backward(const Tensor& gy, const Wants&) const {
    const Tensor gx = Tensor::zeros(x, gy.dtype(), gy.device());
    copy(gy, sliced(gx, dim, begin, end, step));
    return {gx};
  }
};

struct CatBackward {
  static constexpr const char* op = "cat";
  int dim;
  std::vector<int64_t> sizes;
  Grads backward(const Tensor& gy, const Wants&) const {
    Grads grads;
    int64_t begin = 0;
    for (const int64_t size : sizes) {
      grads.push_back(sliced(gy, dim, begin, begin + size, 1));
      begin += size;
    }
    return grads;
  }
};

// The part of y that pad() surrounded.
Tensor inner(const Tensor& y, const Shape& x, const std::vector<std::pair<int64_t, int64_t>>& pads) {
  int64_t offset = 0;
  if (numel(x) > 0)
    for (int d = 0; d < x.rank(); ++d) offset += pads[size_t(d)].first * y.strides()[d];
  return y.as_strided(x, y.strides(), offset);
}

struct PadBackward {
  static constexpr const char* op = "pad";
  Shape x;
  std::vector<std::pair<int64_t, int64_t>> pads;
  Grads backward(const Tensor& gy, const Wants&) const { return {inner(gy, x, pads)}; }
};

struct ContiguousBackward {
  static constexpr const char* op = "contiguous";
  Grads backward(const Tensor& gy, const Wants&) const { return {gy}; }
};

// --- the shapes of results ---

Shape reshape_shape(const Shape& x, const Shape& shape) {
  Shape full = shape;
  int unknown = -1;
  int64_t known = 1;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] == -1 && unknown < 0)
      unknown = d;
    else if (shape[d] < 0)
      throw ShapeError(message("reshape: ", shape, " is no shape; one size may be -1"));
    else
      known = checked_mul("reshape", known, shape[d]);
  }
  if (unknown >= 0 && known > 0) full[unknown] = numel(x) / known;
  if ((unknown >= 0 && known == 0) || numel(full) != numel(x))
    throw ShapeError(message("reshape: the ", numel(x), " elements of ", x, " do not fill ", shape));
  return full;
}

Shape flatten_shape(const Shape& x, int start_dim) {
  const int start = normalize_dim("flatten", start_dim, x.rank());
  Shape shape;
  for (int d = 0; d < x.rank(); ++d) {
    if (d <= start)
      shape.push_back(x[d]);
    else
      shape[start] *= x[d];
  }
  return shape;
}

// No dimension negative, each once.
DimList permute_order(const Shape& x, const DimList& dims) {
  DimList order;
  bool named[kMaxRank] = {};
  for (const int64_t dim : dims) {
    const int d = normalize_dim("permute", dim, x.rank());
    named[d] = true;
    order.push_back(d);
  }
  if (dims.rank() != x.rank() || std::count(named, named + x.rank(), false))
    throw ShapeError(message("permute: each dimension of ", x, " must be named exactly once"));
  return order;
}

Shape expand_shape(const Shape& x, const Shape& shape) {
  const int missing = shape.rank() - x.rank();
  Shape full = shape;
  bool fits = missing >= 0;
  for (int d = 0; fits && d < shape.rank(); ++d) {
    const int64_t size = d < missing ? 1 : x[d - missing];
    if (d >= missing && shape[d] == -1) full[d] = size;
    fits = full[d] >= 0 && (size == full[d] || size == 1);
  }
  if (!fits) throw ShapeError(message("expand: ", x, " does not broadcast to ", shape));
  numel(full);
  return full;
}

// With begin and end counted from the beginning, and no dimension negative.
SliceOptions slice_of(const Shape& x, const SliceOptions& o) {
  const int d = normalize_dim("slice", o.dim, x.rank());
  const int64_t begin = o.begin < 0 ? o.begin + x[d] : o.begin, end = o.end < 0 ? o.end + x[d] : o.end;
  if (begin < 0 || begin > end || end > x[d] || o.step < 1)
    throw ShapeError(
        message("slice: ", o.begin, " to ", o.end, " in steps of ", o.step, " along dimension ", o.dim, " of ", x));
  return {d, begin, end, o.step};
}

Shape cat_shape(const std::vector<Shape>& shapes, int dim) {
  Shape joined = shapes[0];
  const int d = normalize_dim("cat", dim, joined.rank());
  joined[d] = 0;
  for (const Shape& s : shapes) {
    Shape expected = shapes[0];
    if (s.rank() == expected.rank()) expected[d] = s[d];
    if (s != expected) throw ShapeError(message("cat: ", s, " does not join ", shapes[0], " along dimension ", dim));
    joined[d] = checked_add("cat", joined[d], s[d]);
  }
  return joined;
}

Shape pad_shape(const Shape& x, const std::vector<std::pair<int64_t, int64_t>>& pads) {
  if (int(pads.size()) != x.rank()) throw ShapeError(message("pad: ", pads.size(), " pairs for the dimensions of ", x));
  Shape shape = x;
  for (int d = 0; d < x.rank(); ++d) {
    const auto [before, after] = pads[size_t(d)];
    if (before < 0 || after < 0)
      throw ShapeError(message("pad: (", before, ", ", after, ") around dimension ", d, " of ", x));
    shape[d] = checked_add("pad", shape[d], checked_add("pad", before, after));
  }
  return shape;
}

void check_format(const Shape& x, MemoryFormat format) {
  if (format == MemoryFormat::channels_last)
    channels_last_strides(x);
  else if (format != MemoryFormat::contiguous)
    throw ValueError(message("contiguous: there is no memory format ", int(format)));
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
  Operand("reshape", "x", x);
  return attach<ReshapeBackward>(reshaped(x, reshape_shape(x.shape(), shape)), {x}, ShapeOptions{shape}, x.shape());
}

Tensor flatten(const Tensor& x, int start_dim) {
  Operand("flatten", "x", x);
  return attach<FlattenBackward>(reshaped(x, flatten_shape(x.shape(), start_dim)), {x}, FlattenOptions{start_dim},
                                 x.shape());
}

Tensor permute(const Tensor& x, const DimList& dims) {
  Operand("permute", "x", x);
  const DimList order = permute_order(x.shape(), dims);
  DimList inverse = order;
  for (int i = 0; i < order.rank(); ++i) inverse[int(order[i])] = i;
  Tensor y = permuted(x, order);
  return attach<PermuteBackward>(std::move(y), {x}, PermuteOptions{order}, inverse);
}

Tensor transpose(const Tensor& x, int a, int b) {
  Operand("transpose", "x", x);
  DimList dims;
  for (int d = 0; d < x.rank(); ++d) dims.push_back(d);
  std::swap(dims[normalize_dim("transpose", a, x.rank())], dims[normalize_dim("transpose", b, x.rank())]);
  return permute(x, dims);
}

Tensor expand(const Tensor& x, const Shape& shape) {
  Operand("expand", "x", x);
  const Shape full = expand_shape(x.shape(), shape);
  const int missing = full.rank() - x.rank();
  Strides strides;
  for (int d = 0; d < full.rank(); ++d)
    strides.push_back(d < missing || x.shape()[d - missing] != full[d] ? 0 : x.strides()[d - missing]);
  return attach<ExpandBackward>(x.as_strided(full, strides), {x}, ShapeOptions{shape}, x.shape());
}

Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t end, int64_t step) {
  Operand("slice", "x", x);
  const auto [d, first, last, by] = slice_of(x.shape(), {dim, begin, end, step});
  return attach<SliceBackward>(sliced(x, d, first, last, by), {x}, SliceOptions{d, begin, end, step}, x.shape(), d,
                               first, last, by);
}

Tensor cat(const std::vector<Tensor>& tensors, int dim) {
  if (tensors.empty()) throw ShapeError("cat: there is nothing to join");
  const Tensor& first = tensors.front();
  const Operand leader("cat", "the first tensor", first);
  std::vector<Shape> shapes;
  for (const Tensor& t : tensors) {
    Operand("cat", "a tensor", t).like(leader);
    shapes.push_back(t.shape());
  }
  const Shape shape = cat_shape(shapes, dim);
  const int d = normalize_dim("cat", dim, first.rank());
  bool channels_last = true;
  std::vector<int64_t> sizes;
  for (const Tensor& t : tensors) {
    sizes.push_back(t.shape()[d]);
    channels_last = channels_last && format_of(t) == MemoryFormat::channels_last;
  }
  const Tensor y = Tensor::empty(shape, first.dtype(), first.device(),
                                 channels_last ? MemoryFormat::channels_last : MemoryFormat::contiguous);
  int64_t begin = 0;
  for (const Tensor& t : tensors) {
    copy(t, sliced(y, d, begin, begin + t.shape()[d], 1));
    begin += t.shape()[d];
  }
  return attach<CatBackward>(y, tensors, DimOptions{d}, d, std::move(sizes));
}

Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& pads, double value) {
  Operand("pad", "x", x);
  Tensor y = Tensor::empty(pad_shape(x.shape(), pads), x.dtype(), x.device(), format_of(x));
  y.fill(value);
  copy(x, inner(y, x.shape(), pads));
  return attach<PadBackward>(y, {x}, PadOptions{pads, value}, x.shape(), pads);
}

Tensor contiguous(const Tensor& x, MemoryFormat format) {
  Operand("contiguous", "x", x);
  check_format(x.shape(), format);
  const Tensor y = dense(x, format);
  if (y.id() == x.id()) return x;
  return attach<ContiguousBackward>(y, {x}, ContiguousOptions{format});
}

constinit const OpDef opdef::reshape =
    define_op<ShapeOptions, [](auto in, const auto& o) { return mininn::reshape(in[0], o.shape); },
              [](auto in, const auto& o) {
                return TensorInfo{reshape_shape(in[0].shape, o.shape), in[0].dtype, in[0].qparams};
              }>(ReshapeBackward::op, kOneInput, Sizes::options);
constinit const OpDef opdef::flatten =
    define_op<FlattenOptions, [](auto in, const auto& o) { return mininn::flatten(in[0], o.start_dim); },
              [](auto in, const auto& o) {
                return TensorInfo{flatten_shape(in[0].shape, o.start_dim), in[0].dtype, in[0].qparams};
              }>(FlattenBackward::op);
constinit const OpDef opdef::permute =
    define_op<PermuteOptions, [](auto in, const auto& o) { return mininn::permute(in[0], o.dims); },
              [](auto in, const auto& o) {
                TensorInfo y{{}, in[0].dtype, in[0].qparams};
                for (const int64_t d : permute_order(in[0].shape, o.dims)) y.shape.push_back(in[0].shape[int(d)]);
                return y;
              }>(PermuteBackward::op);
constinit const OpDef opdef::expand =
    define_op<ShapeOptions, [](auto in, const auto& o) { return mininn::expand(in[0], o.shape); },
              [](auto in, const auto& o) {
                return TensorInfo{expand_shape(in[0].shape, o.shape), in[0].dtype, in[0].qparams};
              }>(ExpandBackward::op, kOneInput, Sizes::options);
constinit const OpDef opdef::slice =
    define_op<SliceOptions, [](auto in, const auto& o) { return mininn::slice(in[0], o.dim, o.begin, o.end, o.step); },
              [](auto in, const auto& o) {
                TensorInfo y = in[0];
                const SliceOptions s = slice_of(y.shape, o);
                y.shape[s.dim] = slice_size(s);
                return y;
              }>(SliceBackward::op, kOneInput, Sizes::options);
constinit const OpDef opdef::cat = define_op<DimOptions,
                                             [](auto in, const auto& o) {
                                               return mininn::cat({in.begin(), in.end()}, o.dim);
                                             },
                                             [](auto in, const auto& o) {
                                               std::vector<Shape> shapes;
                                               for (const TensorInfo& t : in) shapes.push_back(t.shape);
                                               return TensorInfo{cat_shape(shapes, o.dim), in[0].dtype};
                                             }>(CatBackward::op, kAnyInputs);
constinit const OpDef opdef::pad =
    define_op<PadOptions, [](auto in, const auto& o) { return mininn::pad(in[0], o.pads, o.value); },
              [](auto in, const auto& o) {
                return TensorInfo{pad_shape(in[0].shape, o.pads), in[0].dtype};
              }>(PadBackward::op, kOneInput, Sizes::options);
constinit const OpDef opdef::contiguous =
    define_op<ContiguousOptions, [](auto in, const auto& o) { return mininn::contiguous(in[0], o.format); },
              [](auto in, const auto& o) {
                check_format(in[0].shape, o.format);
                return in[0];
              }>(ContiguousBackward::op);

}  // namespace mininn
