// How kernels walk operands of any strides.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "core/parallel.h"
#include "core/view.h"
#include "cpu_kernels/common/elements.h"

namespace mininn::cpu {

inline constexpr int64_t kGrain = 16384;  // elements below which a second thread does not pay

// bf16 is computed in float.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

// In which order indices are walked: row-major, or as the elements of the first operand lie in memory.
enum class Order { logical, memory };

// N operands of one shape. Dimensions that are contiguous in all operands are merged, so dense operands of equal
// strides become one run.
template <int N>
class StridedLoop {
 public:
  StridedLoop(const Shape& shape, const std::array<Strides, N>& strides, Order order = Order::memory) {
    std::array<int, kMaxRank> dims{};
    int rank = 0;
    for (int d = 0; d < shape.rank(); ++d)
      if (shape[d] != 1) dims[size_t(rank++)] = d;
    if (order == Order::memory) {
      // By insertion: std::stable_sort asks for memory.
      const auto farther = [&](int a, int b) { return std::abs(strides[0][a]) > std::abs(strides[0][b]); };
      for (auto last = dims.begin(); last != dims.begin() + rank; ++last)
        std::rotate(std::upper_bound(dims.begin(), last, *last, farther), last, last + 1);
    }
    for (int i = 0; i < rank; ++i) {
      const int d = dims[size_t(i)];
      size_ *= shape[d];
      if (rank_ > 0 && mergeable(strides, d, shape[d])) {
        dims_[size_t(rank_) - 1].size *= shape[d];
      } else {
        dims_[size_t(rank_++)].size = shape[d];
      }
      for (int k = 0; k < N; ++k) dims_[size_t(rank_) - 1].stride[size_t(k)] = strides[size_t(k)][d];
    }
    if (rank_ == 0) rank_ = 1;  // one element
  }

  struct Dim {
    int64_t size = 1;
    std::array<int64_t, N> stride{};
  };

  int64_t size() const { return size_; }
  int rank() const { return rank_; }
  const Dim& dim(int d) const { return dims_[size_t(d)]; }
  const Dim& inner() const { return dims_[size_t(rank_) - 1]; }
  // All operands have stride 1 within a run.
  bool unit_stride() const {
    return std::all_of(inner().stride.begin(), inner().stride.end(), [](int64_t s) { return s == 1; });
  }

  // Covers indices [begin, end) by runs: body(offsets, n) gets the element offsets where each operand's run of n
  // begins; within it, they advance by inner().stride.
  template <class Body>
  void walk(int64_t begin, int64_t end, const Body& body) const {
    if (begin >= end) return;
    std::array<int64_t, kMaxRank> index{};
    std::array<int64_t, N> offset{};
    int64_t rest = begin;
    for (int d = rank_ - 1; d >= 0; --d) {
      const Dim& dim = dims_[size_t(d)];
      index[size_t(d)] = rest % dim.size;
      rest /= dim.size;
      for (size_t k = 0; k < N; ++k) offset[k] += index[size_t(d)] * dim.stride[k];
    }
    const Dim& in = inner();
    int64_t start = index[size_t(rank_) - 1];
    for (int64_t left = end - begin; left > 0;) {
      const int64_t n = std::min(left, in.size - start);
      body(std::as_const(offset), n);
      left -= n;
      for (size_t k = 0; k < N; ++k) offset[k] -= start * in.stride[k];
      start = 0;
      for (int d = rank_ - 2; d >= 0; --d) {
        const Dim& dim = dims_[size_t(d)];
        for (size_t k = 0; k < N; ++k) offset[k] += dim.stride[k];
        if (++index[size_t(d)] < dim.size) break;
        index[size_t(d)] = 0;
        for (size_t k = 0; k < N; ++k) offset[k] -= dim.size * dim.stride[k];
      }
    }
  }

  // walk() over everything, on all threads.
  template <class Body>
  void run(const Body& body) const {
    parallel_for(size_, kGrain, [&](int64_t begin, int64_t end) { walk(begin, end, body); });
  }

 private:
  // Dimension d continues the last one in every operand.
  bool mergeable(const std::array<Strides, N>& strides, int d, int64_t size) const {
    const Dim& last = dims_[size_t(rank_) - 1];
    for (size_t k = 0; k < N; ++k)
      if (last.stride[k] != strides[k][d] * size) return false;
    return true;
  }

  std::array<Dim, kMaxRank> dims_;
  int rank_ = 0;
  int64_t size_ = 1;
};

namespace detail {

template <class T, class Fn, size_t... I, class... In>
void map(const View& y, const Fn& fn, std::index_sequence<I...>, const In&... in) {
  const StridedLoop<1 + sizeof...(In)> loop(y.shape, {y.strides, in.strides...});
  const std::array<int64_t, 1 + sizeof...(In)> step = loop.inner().stride;
  const bool unit = loop.unit_stride();
  loop.run([&](const auto& at, int64_t n) {
    T* const out = y.as<T>() + at[0];
    [[maybe_unused]] const std::array<const T*, sizeof...(In)> from{in.template as<T>() + at[I + 1]...};
    if (unit)
      for (int64_t i = 0; i < n; ++i) out[i] = T(fn(Compute<T>(from[I][i])...));
    else
      for (int64_t i = 0; i < n; ++i) out[i * step[0]] = T(fn(Compute<T>(from[I][i * step[I + 1]])...));
  });
}

}  // namespace detail

// y = fn(in...) element by element; all views have elements of type T.
template <class T, class Fn, class... In>
void map(const View& y, const Fn& fn, const In&... in) {
  detail::map<T>(y, fn, std::make_index_sequence<sizeof...(In)>(), in...);
}

}  // namespace mininn::cpu
