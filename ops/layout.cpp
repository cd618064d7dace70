#include "ops/layout.h"

#include <algorithm>
#include <optional>

#include "core/autograd.h"
#include "ops/reduce.h"

namespace mininn {

namespace {

void copy(const Tensor& x, Tensor y) { kernels<op::Copy>().run({x.view(), y.mutable_view()}, x.device()); }

MemoryFormat format_of(const Tensor& x) {
  return x.is_channels_last() && !x.is_contiguous() ? MemoryFormat::channels_last : MemoryFormat::contiguous;
}

std::vector<int64_t> to_list(const Shape& s) { return {s.begin(), s.end()}; }

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
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  copy(x, y);
  return y.as_strided(shape, contiguous_strides(shape));
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

Tensor permuted(const Tensor& x, const std::vector<int>& dims) {
  Shape shape;
  Strides strides;
  for (const int d : dims) {
    shape.push_back(x.shape()[d]);
    strides.push_back(x.strides()[d]);
  }
  return x.as_strided(shape, strides);
}

struct PermuteBackward {
  static constexpr const char* op = "permute";
  std::vector<int> inverse;
  Grads backward(const Tensor& gy, const Wants&) const { return {permuted(gy, inverse)}; }
};

struct ExpandBackward {
  static constexpr const char* op = "expand";
  Shape x;
  Grads backward(const Tensor& gy, const Wants&) const { return {sum_to(gy, x)}; }
};

Tensor sliced(const Tensor& x, int dim, int64_t begin, int64_t end, int64_t step) {
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[dim] = end > begin ? (end - begin - 1) / step + 1 : 0;
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

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
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
  if (unknown >= 0 && known > 0) full[unknown] = x.numel() / known;
  if ((unknown >= 0 && known == 0) || numel(full) != x.numel())
    throw ShapeError(message("reshape: the ", x.numel(), " elements of ", x.shape(), " do not fill ", shape));
  return attach<ReshapeBackward>(
      reshaped(x, full), {x},
      [&] {
        return Attrs{{"shape", to_list(shape)}};
      },
      x.shape());
}

Tensor flatten(const Tensor& x, int start_dim) {
  const int start = normalize_dim("flatten", start_dim, x.rank());
  Shape shape;
  for (int d = 0; d < x.rank(); ++d) {
    if (d <= start)
      shape.push_back(x.shape()[d]);
    else
      shape[start] *= x.shape()[d];
  }
  return attach<FlattenBackward>(
      reshaped(x, shape), {x},
      [&] {
        return Attrs{{"start_dim", int64_t(start_dim)}};
      },
      x.shape());
}

Tensor permute(const Tensor& x, const std::vector<int>& dims) {
  std::vector<int> order, inverse(size_t(x.rank()), -1);
  for (const int dim : dims) {
    const int d = normalize_dim("permute", dim, x.rank());
    inverse[size_t(d)] = int(order.size());
    order.push_back(d);
  }
  if (int(dims.size()) != x.rank() || std::count(inverse.begin(), inverse.end(), -1))
    throw ShapeError(message("permute: each dimension of ", x.shape(), " must be named exactly once"));
  const auto attrs = [&] { return Attrs{{"dims", std::vector<int64_t>(order.begin(), order.end())}}; };
  return attach<PermuteBackward>(permuted(x, order), {x}, attrs, std::move(inverse));
}

Tensor transpose(const Tensor& x, int a, int b) {
  std::vector<int> dims;
  for (int d = 0; d < x.rank(); ++d) dims.push_back(d);
  std::swap(dims[size_t(normalize_dim("transpose", a, x.rank()))],
            dims[size_t(normalize_dim("transpose", b, x.rank()))]);
  return permute(x, dims);
}

Tensor expand(const Tensor& x, const Shape& shape) {
  const int missing = shape.rank() - x.rank();
  Strides strides;
  for (int d = 0; d < shape.rank(); ++d) {
    const int64_t size = d < missing ? 1 : x.shape()[d - missing];
    if (missing < 0 || (size != shape[d] && size != 1))
      throw ShapeError(message("expand: ", x.shape(), " does not broadcast to ", shape));
    strides.push_back(d < missing || size != shape[d] ? 0 : x.strides()[d - missing]);
  }
  if (missing < 0) throw ShapeError(message("expand: ", x.shape(), " does not broadcast to ", shape));
  return attach<ExpandBackward>(
      x.as_strided(shape, strides), {x},
      [&] {
        return Attrs{{"shape", to_list(shape)}};
      },
      x.shape());
}

Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t end, int64_t step) {
  const int d = normalize_dim("slice", dim, x.rank());
  const int64_t size = x.shape()[d];
  const int64_t b = begin < 0 ? begin + size : begin, e = end < 0 ? end + size : end;
  if (b < 0 || b > e || e > size || step < 1)
    throw ShapeError(
        message("slice: ", begin, " to ", end, " in steps of ", step, " along dimension ", dim, " of ", x.shape()));
  const auto attrs = [&] { return Attrs{{"dim", int64_t(d)}, {"begin", begin}, {"end", end}, {"step", step}}; };
  return attach<SliceBackward>(sliced(x, d, b, e, step), {x}, attrs, x.shape(), d, b, e, step);
}

Tensor cat(const std::vector<Tensor>& tensors, int dim) {
  if (tensors.empty()) throw ShapeError("cat: there is nothing to join");
  const Tensor& first = tensors.front();
  const int d = normalize_dim("cat", dim, first.rank());
  Shape shape = first.shape();
  shape[d] = 0;
  bool channels_last = true;
  std::vector<int64_t> sizes;
  for (const Tensor& t : tensors) {
    Shape expected = first.shape();
    if (t.rank() == first.rank()) expected[d] = t.shape()[d];
    if (t.shape() != expected)
      throw ShapeError(message("cat: ", t.shape(), " does not join ", first.shape(), " along dimension ", dim));
    if (t.dtype() != first.dtype())
      throw DTypeError(message("cat: dtypes differ: ", name(first.dtype()), " and ", name(t.dtype())));
    if (t.device() != first.device())
      throw DeviceError(message("cat: tensors are on ", to_string(first.device()), " and ", to_string(t.device())));
    sizes.push_back(t.shape()[d]);
    shape[d] = checked_add("cat", shape[d], sizes.back());
    channels_last = channels_last && format_of(t) == MemoryFormat::channels_last;
  }
  const Tensor y = Tensor::empty(shape, first.dtype(), first.device(),
                                 channels_last ? MemoryFormat::channels_last : MemoryFormat::contiguous);
  int64_t begin = 0;
  for (const Tensor& t : tensors) {
    copy(t, sliced(y, d, begin, begin + t.shape()[d], 1));
    begin += t.shape()[d];
  }
  return attach<CatBackward>(
      y, tensors,
      [&] {
        return Attrs{{"dim", int64_t(d)}};
      },
      d, std::move(sizes));
}

Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& pads, double value) {
  if (int(pads.size()) != x.rank())
    throw ShapeError(message("pad: ", pads.size(), " pairs for the dimensions of ", x.shape()));
  Shape shape = x.shape();
  std::vector<int64_t> flat;
  for (int d = 0; d < x.rank(); ++d) {
    const auto [before, after] = pads[size_t(d)];
    if (before < 0 || after < 0)
      throw ShapeError(message("pad: (", before, ", ", after, ") around dimension ", d, " of ", x.shape()));
    shape[d] = checked_add("pad", shape[d], checked_add("pad", before, after));
    flat.insert(flat.end(), {before, after});
  }
  Tensor y = Tensor::empty(shape, x.dtype(), x.device(), format_of(x));
  y.fill(value);
  copy(x, inner(y, x.shape(), pads));
  return attach<PadBackward>(
      y, {x},
      [&] {
        return Attrs{{"pads", flat}, {"value", value}};
      },
      x.shape(), pads);
}

Tensor contiguous(const Tensor& x, MemoryFormat format) {
  if (format != MemoryFormat::contiguous && format != MemoryFormat::channels_last)
    throw ValueError(message("contiguous: there is no memory format ", int(format)));
  if (format == MemoryFormat::channels_last ? x.is_channels_last() : x.is_contiguous()) return x;
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device(), format);
  copy(x, y);
  return attach<ContiguousBackward>(y, {x}, [&] { return Attrs{{"format", int64_t(format)}}; });
}

}  // namespace mininn
