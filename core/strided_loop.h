// How operands of any strides are walked.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "core/parallel.h"
#include "core/shape.h"

namespace mininn {

inline constexpr int64_t kGrain = 16384;  // elements below which a second thread does not pay

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

  constexpr int64_t size() const { return size_; }
  constexpr int rank() const { return rank_; }
  constexpr const Dim& dim(int d) const { return dims_[size_t(d)]; }
  constexpr const Dim& inner() const { return dims_[size_t(rank_) - 1]; }
  // All operands have stride 1 within a run.
  bool unit_stride() const {
    return std::all_of(inner().stride.begin(), inner().stride.end(), [](int64_t s) { return s == 1; });
  }

  // Where index i is in each operand, in elements.
  constexpr std::array<int64_t, N> offsets(int64_t i) const {
    std::array<int64_t, N> at{};
    for (int d = rank_ - 1; d >= 0; --d) {
      const Dim& dim = dims_[size_t(d)];
      const int64_t rest = d > 0 ? i / dim.size : 0, index = i - rest * dim.size;
      for (size_t k = 0; k < N; ++k) at[k] += index * dim.stride[k];
      i = rest;
    }
    return at;
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

}  // namespace mininn
