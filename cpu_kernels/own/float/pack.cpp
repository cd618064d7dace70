#include "cpu_kernels/own/float/pack.h"

#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"

namespace mininn::cpu::own {
namespace {

constexpr int kMaxLanes = 16;
constexpr int64_t kGrain = 1 << 14;  // floats that are worth a thread

// Walks over the (k, tap) pairs in the order kk = k * taps + tap, and gives each pair's place in a panel.
class PairWalk {
 public:
  PairWalk(const TilesF32& t, const MatrixLayout& m, int64_t kk)
      : taps_(m.taps), size_(m.k), nr_(t.nr), k_(kk / m.taps), tap_(kk % m.taps) {}
  int64_t next() {
    const int64_t at = (tap_ * size_ + k_) * nr_;
    if (++tap_ == taps_) tap_ = 0, ++k_;
    return at;
  }

 private:
  int64_t taps_, size_, nr_, k_, tap_;
};

// One panel whose (k, tap) pairs lie one after the other: blocks of columns x pairs are transposed.
void pack_rows(const TilesF32& t, const MatrixLayout& m, const float* src, float* panel, int64_t c0, int64_t begin,
               int64_t end) {
  const float* from[kMaxLanes];
  float* to[kMaxLanes];
  for (int half = 0; half < t.nr; half += t.lanes) {
    const int rows = int(std::clamp<int64_t>(m.columns - c0 - half, 0, t.lanes));
    PairWalk walk(t, m, begin);
    for (int64_t kk = begin; kk < end; kk += t.lanes) {
      const int n = int(std::min<int64_t>(t.lanes, end - kk));
      for (int r = 0; r < rows; ++r) {
        from[r] = src + (c0 + half + r) * m.column_stride + kk;
        __builtin_prefetch(from[r] + 128);  // too many streams for the hardware to follow
      }
      for (int i = 0; i < n; ++i) to[i] = panel + walk.next() + half;
      t.transpose(from, rows, n, to, t.lanes);
    }
  }
}

// One panel, k by k: for each, a block of columns x taps is transposed.
void pack_taps(const TilesF32& t, const MatrixLayout& m, const float* src, float* panel, int64_t c0, int64_t begin,
               int64_t end) {
  const float* from[kMaxLanes];
  float* to[kMaxLanes];
  for (int64_t k = begin; k < end; ++k)
    for (int half = 0; half < t.nr; half += t.lanes) {
      const int rows = int(std::clamp<int64_t>(m.columns - c0 - half, 0, t.lanes));
      for (int64_t tap = 0; tap < m.taps; tap += t.lanes) {
        const int n = int(std::min<int64_t>(t.lanes, m.taps - tap));
        for (int r = 0; r < rows; ++r) from[r] = src + (c0 + half + r) * m.column_stride + k * m.k_stride + tap;
        for (int i = 0; i < n; ++i) to[i] = panel + ((tap + i) * m.k + k) * t.nr + half;
        t.transpose(from, rows, n, to, t.lanes);
      }
    }
}

// One panel, element by element, whatever the strides; neighbouring columns are copied together.
void pack_elements(const TilesF32& t, const MatrixLayout& m, const float* src, float* panel, int64_t c0, int64_t begin,
                   int64_t end) {
  const int64_t n = std::min<int64_t>(t.nr, m.columns - c0);
  for (int64_t tap = 0; tap < m.taps; ++tap)
    for (int64_t k = begin; k < end; ++k) {
      const float* const from = src + c0 * m.column_stride + k * m.k_stride + tap * m.tap_stride;
      float* const to = panel + (tap * m.k + k) * t.nr;
      if (m.column_stride == 1)
        std::copy_n(from, n, to);
      else
        for (int64_t c = 0; c < n; ++c) to[c] = from[c * m.column_stride];
      std::fill(to + n, to + t.nr, 0.0f);
    }
}

// How the elements of B are best read, and how many indices there are to split: (k, tap) pairs or k.
struct Method {
  void (*part)(const TilesF32&, const MatrixLayout&, const float* src, float* panel, int64_t c0, int64_t begin,
               int64_t end);
  int64_t length;
};

Method method(const MatrixLayout& m) {
  const bool taps_adjacent = m.taps == 1 || m.tap_stride == 1;
  if (taps_adjacent && m.column_stride != 1 && m.k_stride == m.taps) return {pack_rows, m.k * m.taps};
  if (taps_adjacent && m.taps > 1) return {pack_taps, m.k};
  return {pack_elements, m.k};
}

}  // namespace

void pack_panel(const TilesF32& t, const MatrixLayout& m, const float* src, int64_t panel, float* dst) {
  const Method how = method(m);
  how.part(t, m, src, dst, panel * t.nr, 0, how.length);
}

void pack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst) {
  const Method how = method(m);
  constexpr int64_t kChunk = 256;  // a multiple of every vector
  const int64_t chunks = ceil_div(how.length, kChunk);
  const int64_t floats = m.panel_size(t) / std::max<int64_t>(chunks, 1);
  parallel_for(m.panels(t) * chunks, kGrain / std::max<int64_t>(floats, 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t panel = u / chunks, first = u % chunks * kChunk;
      how.part(t, m, src, dst + panel * m.panel_size(t), panel * t.nr, first, std::min(first + kChunk, how.length));
    }
  });
}

void unpack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst) {
  const int64_t length = m.k * m.taps, blocks = ceil_div(length, t.lanes);
  const int64_t groups = ceil_div(m.columns, t.lanes);  // of columns: half panels
  parallel_for(groups * blocks, kGrain / (t.lanes * t.lanes), [&](int64_t begin, int64_t end) {
    const float* from[kMaxLanes];
    float* to[kMaxLanes];
    for (int64_t u = begin; u < end; ++u) {
      const int64_t c0 = u / blocks * t.lanes, kk = u % blocks * t.lanes;
      const float* const panel = src + c0 / t.nr * length * t.nr + c0 % t.nr;
      const int rows = int(std::min<int64_t>(t.lanes, length - kk));
      const int columns = int(std::min<int64_t>(t.lanes, m.columns - c0));
      PairWalk walk(t, m, kk);
      for (int r = 0; r < rows; ++r) from[r] = panel + walk.next();
      for (int c = 0; c < columns; ++c) to[c] = dst + (c0 + c) * m.column_stride + kk;
      t.transpose(from, rows, columns, to, rows);
    }
  });
}

}  // namespace mininn::cpu::own
