#include "core/shape.h"

#include <algorithm>

namespace mininn {

int64_t numel(const Shape& s) {
  int64_t n = 1;
  for (const int64_t d : s) {
    if (d < 0) throw ShapeError(message("a size is negative in ", s));
    if (__builtin_mul_overflow(n, d, &n))
      throw ShapeError(message("the number of elements of ", s, " overflows 63 bits"));
  }
  return n;
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

int normalize_dim(const char* op, int dim, int rank) {
  const int d = dim < 0 ? dim + rank : dim;
  if (d < 0 || d >= rank)
    throw ShapeError(message(op, ": dimension ", dim, " is out of range for a tensor of ", rank, " dimensions"));
  return d;
}

}  // namespace mininn
