// Sizes and strides of a tensor: up to six int64 stored inline.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace mininn {

inline constexpr int kMaxRank = 6;

// A short list of int64. Each use has a type of its own, so that one is never passed for another.
template <class Tag>
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> d) : Dims(std::span<const int64_t>(d.begin(), d.size())) {}
  explicit Dims(std::span<const int64_t> d) {
    for (const int64_t v : d) push_back(v);
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return d_[size_t(i)]; }
  int64_t& operator[](int i) { return d_[size_t(i)]; }
  int64_t back() const { return d_[size_t(rank_) - 1]; }
  const int64_t* begin() const { return d_.data(); }
  const int64_t* end() const { return d_.data() + rank_; }
  void push_back(int64_t v) {
    if (rank_ == kMaxRank) throw ShapeError(message("a tensor has at most ", kMaxRank, " dimensions"));
    d_[size_t(rank_++)] = v;
  }
  bool operator==(const Dims& o) const { return std::equal(begin(), end(), o.begin(), o.end()); }

  friend std::string to_string(const Dims& d) {
    std::string out = "[";
    for (int i = 0; i < d.rank(); ++i) {
      if (i > 0) out += ',';
      out += std::to_string(d[i]);
    }
    return out + ']';
  }
  friend std::ostream& operator<<(std::ostream& out, const Dims& d) { return out << to_string(d); }

 private:
  std::array<int64_t, kMaxRank> d_{};
  int rank_ = 0;
};

using Shape = Dims<struct ShapeTag>;      // sizes, outermost first; images are [N,C,H,W]
using Strides = Dims<struct StridesTag>;  // distance between neighbours along each dimension, in elements
using DimList = Dims<struct DimListTag>;  // some dimensions of a tensor by number; negative ones count from the end

// a + b and a * b of sizes. Throw ShapeError naming `what` where int64 does not hold the result.
int64_t checked_add(const char* what, int64_t a, int64_t b);
int64_t checked_mul(const char* what, int64_t a, int64_t b);

// Number of elements; 1 for a scalar (rank 0). Throws ShapeError for a negative size, or if int64 does not hold the
// product of all sizes but zeros: so it holds every stride and every product of some sizes of a tensor that exists.
int64_t numel(const Shape& s);

Strides contiguous_strides(const Shape& s);
// Strides of an [N,C,H,W] tensor stored as N,H,W,C. Throws ShapeError unless the rank is 4.
Strides channels_last_strides(const Shape& s);

// Sizes 1 and strides of dimensions of size 1 are ignored, so a [N,C,1,1] tensor is both.
bool is_contiguous(const Shape& s, const Strides& st);
bool is_channels_last(const Shape& s, const Strides& st);

// Whether two indices address one element. Also true for some layouts whose dimensions interleave without meeting.
bool may_overlap_itself(const Shape& s, const Strides& st);

// The shape that elementwise ops give (NumPy's rule). Throws ShapeError naming `op` and both shapes.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

// Maps -rank..rank-1 to 0..rank-1. Throws ShapeError naming `op`.
int normalize_dim(const char* op, int64_t dim, int rank);

// `n` elements in host memory, all T(). Throws ShapeError if their bytes overflow, Error if there is no memory.
template <class T>
std::vector<T> host_vector(int64_t n) {
  checked_mul("a vector's bytes", n, int64_t(sizeof(T)));
  try {
    return std::vector<T>(static_cast<size_t>(n));
  } catch (const std::bad_alloc&) {
    throw Error(message("out of memory: a vector of ", n, " elements of ", sizeof(T), " bytes wanted"));
  }
}

}  // namespace mininn
