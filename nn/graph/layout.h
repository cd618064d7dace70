// How tensors lie in memory. Private to nn/graph/.
#pragma once

#include "core/integers.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn::nn::graph {

// What a tensor is and how it lies in memory.
struct Layout {
  TensorInfo info;
  Strides strides;
  Device device = Device::cpu();

  Layout(const TensorInfo& t, Device d) : info(t), strides(contiguous_strides(t.shape)), device(d) {}
  explicit Layout(const Tensor& t) : info(info_of(t)), strides(t.strides()), device(t.device()) {}
  bool operator==(const Layout&) const = default;
  // The same places: a dimension of one index may have any stride.
  bool lies_like(const Layout& other) const {
    bool same = info.shape == other.info.shape;
    for (int d = 0; same && d < info.shape.rank(); ++d) same = info.shape[d] <= 1 || strides[d] == other.strides[d];
    return same;
  }

  // The bytes that it spans before its first element, and from there on.
  struct Extent {
    size_t before = 0, behind = 0;
  };
  Extent extent() const {
    if (numel(info.shape) == 0) return {};
    int64_t lowest = 0, highest = 0;
    for (int d = 0; d < info.shape.rank(); ++d) (strides[d] < 0 ? lowest : highest) += (info.shape[d] - 1) * strides[d];
    return {size_t(-lowest) * size_of(info.dtype), size_t(highest + 1) * size_of(info.dtype)};
  }
  // Memory for it alone: kernels on codes read four at a time (ops/qlayout.h).
  size_t bytes() const {
    const auto [before, behind] = extent();
    return info.qparams ? round_up(before + behind, size_t{4}) : before + behind;
  }
  Tensor empty() const {
    const auto element = int64_t(size_of(info.dtype));
    const Tensor t = Tensor::empty({int64_t(bytes()) / element}, info.dtype, device)
                         .as_strided(info.shape, strides, int64_t(extent().before) / element);
    return info.qparams ? t.with_qparams(*info.qparams) : t;
  }
};

}  // namespace mininn::nn::graph
