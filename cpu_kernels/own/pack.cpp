#include "cpu_kernels/own/pack.h"

#include <algorithm>

#include "core/parallel.h"

namespace mininn::cpu::own {
namespace {

constexpr int kMaxLanes = 16;
constexpr int64_t kGrain = 1 << 14;  // floats that are worth a thread

// One panel with k and tap as one index kk = k * taps + tap, whose elements lie one after the other: blocks of columns
// x kk are transposed.
void pack_rows(const TilesF32& t, const MatrixLayout& m, const float* src, float* panel, int64_t c0, int64_t begin,
               int64_t end) {
  const float* from[kMaxLanes];
  float* to[kMaxLanes];
  for (int half = 0; half < t.nr; half += t.lanes) {
    const int rows = int(std::clamp<int64_t>(m.columns - c0 - half, 0, t.lanes));
    for (int64_t kk = begin; kk < end; kk += t.lanes) {
      const int n = int(std::min<int64_t>(t.lanes, end - kk));
      for (int r = 0; r < rows; ++r) from[r] = src + (c0 + half + r) * m.column_stride + kk;
      for (int i = 0; i < n; ++i) to[i] = panel + ((kk + i) % m.taps * m.k + (kk + i) / m.taps) * t.nr + half;
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

}  // namespace

void pack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst) {
  const bool taps_adjacent = m.taps == 1 || m.tap_stride == 1;
  const bool rows = taps_adjacent && m.column_stride != 1 && m.k_stride == m.taps;
  const bool taps = !rows && taps_adjacent && m.taps > 1;
  const auto part = rows ? pack_rows : taps ? pack_taps : pack_elements;
  // Threads share (panel, chunk of rows); a chunk is a multiple of a vector.
  const int64_t length = rows ? m.k * m.taps : m.k;
  const int64_t chunk = rows ? 16 * t.lanes : 16;
  const int64_t chunks = (length + chunk - 1) / chunk;
  const int64_t floats = chunk * t.nr * (rows ? 1 : m.taps);
  parallel_for(m.panels(t) * chunks, std::max<int64_t>(1, kGrain / floats), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t panel = u / chunks, first = u % chunks * chunk;
      part(t, m, src, dst + panel * m.taps * m.k * t.nr, panel * t.nr, first, std::min(first + chunk, length));
    }
  });
}

void unpack(const TilesF32& t, const MatrixLayout& m, const float* src, float* dst) {
  const int64_t length = m.k * m.taps, blocks = (length + t.lanes - 1) / t.lanes;
  const int64_t groups = (m.columns + t.lanes - 1) / t.lanes;  // of columns; two to a panel
  parallel_for(groups * blocks, kGrain / (t.lanes * t.lanes), [&](int64_t begin, int64_t end) {
    const float* from[kMaxLanes];
    float* to[kMaxLanes];
    for (int64_t u = begin; u < end; ++u) {
      const int64_t c0 = u / blocks * t.lanes, kk = u % blocks * t.lanes;
      const float* const panel = src + c0 / t.nr * length * t.nr + c0 % t.nr;
      const int rows = int(std::min<int64_t>(t.lanes, length - kk));
      const int columns = int(std::min<int64_t>(t.lanes, m.columns - c0));
      for (int r = 0; r < rows; ++r) from[r] = panel + ((kk + r) % m.taps * m.k + (kk + r) / m.taps) * t.nr;
      for (int c = 0; c < columns; ++c) to[c] = dst + (c0 + c) * m.column_stride + kk;
      t.transpose(from, rows, columns, to, rows);
    }
  });
}

}  // namespace mininn::cpu::own
