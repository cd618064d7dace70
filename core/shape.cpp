#include "core/shape.h"

#include <algorithm>
#include <cstdlib>

namespace mininn {

int64_t checked_add(const char* what, int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) throw ShapeError(message(what, ": ", a, " + ", b, " overflows 63 bits"));
  return sum;
}

int64_t checked_mul(const char* what, int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) throw ShapeError(message(what, ": ", a, " * ", b, " overflows 63 bits"));
  return product;
}

int64_t numel(const Shape& s) {
  int64_t n = 1;
  bool empty = false;
  for (const int64_t d : s) {
    if (d < 0) throw ShapeError(message("a size is negative in ", s));
    empty |= d == 0;
    if (__builtin_mul_overflow(n, std::max<int64_t>(d, 1), &n))
      throw ShapeError(message("the number of elements of ", s, " overflows 63 bits"));
  }
  return empty ? 0 : n;
}

Strides contiguous_strides(const Shape& s) {
  Strides st;
  for (int i = 0; i < s.rank(); ++i) st.push_back(1);
  for (int i = s.rank() - 2; i >= 0; --i) st[i] = st[i + 1] * std::max<int64_t>(s[i + 1], 1);
  return st;
}

Strides channels_last_strides(const Shape& s) {
  if (s.rank() != 4) throw ShapeError(message("channels-last needs [N,C,H,W], got ", s));
  const int64_t c = std::max<int64_t>(s[1], 1), h = std::max<int64_t>(s[2], 1), w = std::max<int64_t>(s[3], 1);
  return {h * w * c, 1, w * c, c};
}

namespace {
bool same_layout(const Shape& s, const Strides& a, const Strides& b) {
  for (int i = 0; i < s.rank(); ++i)
    if (s[i] > 1 && a[i] != b[i]) return false;
  return true;
}
}  // namespace

bool is_contiguous(const Shape& s, const Strides& st) {
  return numel(s) == 0 || same_layout(s, st, contiguous_strides(s));
}

bool is_channels_last(const Shape& s, const Strides& st) {
  return s.rank() == 4 && (numel(s) == 0 || same_layout(s, st, channels_last_strides(s)));
}

bool may_overlap_itself(const Shape& s, const Strides& st) {
  if (numel(s) == 0) return false;
  int64_t reach = 0;  // of the smaller strides together: the next one must step over it
  bool done[kMaxRank] = {};
  for (int round = 0; round < s.rank(); ++round) {
    int next = -1;
    for (int d = 0; d < s.rank(); ++d)
      if (!done[d] && s[d] > 1 && (next < 0 || std::abs(st[d]) < std::abs(st[next]))) next = d;
    if (next < 0) break;
    if (std::abs(st[next]) <= reach) return true;
    reach += std::abs(st[next]) * (s[next] - 1);
    done[next] = true;
  }
  return false;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape out;
  for (int i = 0; i < rank; ++i) {
    const int ia = i - rank + a.rank(), ib = i - rank + b.rank();
    const int64_t da = ia < 0 ? 1 : a[ia], db = ib < 0 ? 1 : b[ib];
    if (da != db && da != 1 && db != 1) throw ShapeError(message(op, ": shapes ", a, " and ", b, " do not broadcast"));
    out.push_back(da == 1 ? db : da);
  }
  return out;
}

int normalize_dim(const char* op, int64_t dim, int rank) {
  const int64_t d = dim < 0 ? dim + rank : dim;
  if (d < 0 || d >= rank)
    throw ShapeError(message(op, ": dimension ", dim, " is out of range for a tensor of ", rank, " dimensions"));
  return int(d);
}

}  // namespace mininn
