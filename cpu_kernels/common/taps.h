// Which taps of a convolution meet its input, and how evenly work can be shared out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/integers.h"
#include "core/kernel.h"
#include "core/parallel.h"
#include "ops/conv2d.h"

namespace mininn::cpu {

inline constexpr int64_t kMaxTaps = 128;  // kh * kw of kernels that list them

// Taps [first, last) of one dimension whose input coordinate exists for output coordinate `o`.
inline std::pair<int64_t, int64_t> valid_taps(int64_t o, int64_t in, int64_t k, int64_t stride, int64_t pad,
                                              int64_t dil) {
  const int64_t first = o * stride - pad;  // the input coordinate of tap 0
  const int64_t begin = first < 0 ? std::min(k, ceil_div(-first, dil)) : 0;
  const int64_t end = first < in ? std::min(k, (in - 1 - first) / dil + 1) : 0;
  return {begin, std::max(begin, end)};
}

// The share of `threads` threads' time that n equal items keep busy.
inline double balance(int64_t n, int64_t threads) { return double(n) / double(round_up(n, threads)); }

// The same for the choice of a kernel. Where own kernels are preferred, all of the time: the number of threads decides
// no bit there, so it may not decide which kernel runs.
inline double balance_for_choice(int64_t n) { return preference() == Preference::own ? 1 : balance(n, num_threads()); }

// Units are counted row by row in a table of `columns` columns: calls f(row0, row1, column0, column1) for the
// rectangles that [begin, end) is made of: whole rows together, and what is left of others apart.
template <class F>
void for_rectangles(int64_t begin, int64_t end, int64_t columns, const F& f) {
  while (begin < end) {
    const int64_t row = begin / columns, column = begin % columns;
    const int64_t whole = column == 0 ? (end - begin) / columns : 0;
    const int64_t next = whole > 0 ? begin + whole * columns : std::min(end, (row + 1) * columns);
    f(row, row + std::max<int64_t>(whole, 1), column, whole > 0 ? columns : next - row * columns);
    begin = next;
  }
}

// parallel_for()'s grain where an item takes so many multiply-accumulates: a million are worth a thread.
inline int64_t macs_grain(int64_t per_item) { return 1 + 1000000 / std::max<int64_t>(1, per_item); }

// The share of all (output pixel, tap) pairs that fall on padding.
inline double padding_share(const Conv2dGeometry& g) {
  int64_t rows = 0, cols = 0;
  for (int64_t o = 0; o < g.oh; ++o) {
    const auto [begin, end] = valid_taps(o, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h);
    rows += end - begin;
  }
  for (int64_t o = 0; o < g.ow; ++o) {
    const auto [begin, end] = valid_taps(o, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w);
    cols += end - begin;
  }
  return 1 - double(rows * cols) / double(g.oh * g.kh * g.ow * g.kw);
}

}  // namespace mininn::cpu
