// Included once per instruction set inside its target region and an anonymous namespace, after
//   struct Vec { T, Mask, lanes, zero, broadcast, load, store, mask, fma, add, relu, transpose };
//   constexpr int kRows;   // tile height: kRows x 2 accumulators, 2 columns of B and 1 broadcast must fit the
//   registers

constexpr int kLanes = Vec::lanes, kColumns = 2 * Vec::lanes;
constexpr int64_t kWeightsAhead = 2048;  // floats: two pages
// The most products that a sum adds up in registers: a longer chain of additions would lose digits, so it is cut, and
// the pieces are added up in memory.
constexpr int64_t kChain = 8192;
static_assert(kLongestRuns <= kChain);  // runs are not cut

// Where the pixels of a tile read and write.
template <int Rows>
class TilePixels {
 public:
  TilePixels(const GatherGemm& p, const GatherRegion& r, int64_t n0, int64_t first) {
    int64_t j = first % r.w, i = first / r.w % r.h, n = n0 + first / (r.w * r.h);
    for (int m = 0; m < Rows; ++m) {
      ih[m] = r.in_h0 + i * p.step_h;
      iw[m] = r.in_w0 + j * p.step_w;
      in_[m] = p.in + ((n * p.in_h + ih[m]) * p.in_w + iw[m]) * p.in_pixel;
      out_[m] = r.out0 + n * p.out_n + i * p.out_h + j * p.out_w;
      if (++j == r.w) {
        j = 0;
        if (++i == r.h) i = 0, ++n;
      }
    }
  }
  const float* in(int m) const { return in_[m]; }
  int64_t out(int m) const { return out_[m]; }

  int64_t ih[Rows], iw[Rows];  // of in()

 private:
  const float* in_[Rows];
  int64_t out_[Rows];
};

// The same where they are neighbours in a row of the region, and no tap falls on padding.
class RowPixels {
 public:
  RowPixels(const GatherGemm& p, const GatherRegion& r, int64_t n0, int64_t first)
      : in_step_(p.step_w * p.in_pixel), out_step_(p.out_w) {
    const int64_t j = first % r.w, i = first / r.w % r.h, n = n0 + first / (r.w * r.h);
    in_ = p.in + ((n * p.in_h + r.in_h0 + i * p.step_h) * p.in_w + r.in_w0 + j * p.step_w) * p.in_pixel;
    out_ = r.out0 + n * p.out_n + i * p.out_h + j * p.out_w;
  }
  const float* in(int m) const { return in_ + m * in_step_; }
  int64_t out(int m) const { return out_ + m * out_step_; }
  void advance(int pixels) {
    in_ += pixels * in_step_;
    out_ += pixels * out_step_;
  }

 private:
  const float* in_;
  int64_t out_;
  int64_t in_step_, out_step_;
};

template <int Rows, int Vectors, class Pixels>
[[gnu::always_inline]] inline void gather_tile(const GatherGemm& p, const GatherRegion& r, const Pixels& pixels,
                                               int64_t panel) {
  constexpr bool kInRow = std::is_same_v<Pixels, RowPixels>;

  if (p.residual)  // it is read last and all at once: too late to wait for memory
    for (int m = 0; m < Rows; ++m)
      for (int c = 0; c < kColumns; c += 16) __builtin_prefetch(p.residual + pixels.out(m) + panel * kColumns + c);

  if constexpr (kInRow)  // so is what the next tile writes: the stores of a short sum would wait for it
    for (int m = 0; m < Rows; ++m)
      for (int c = 0; c < kColumns; c += 16) __builtin_prefetch(p.out + pixels.out(Rows + m) + panel * kColumns + c, 1);

  typename Vec::T acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::zero();

  const float* const packed = p.packed + panel * p.taps * p.k * kColumns;
  for (const Tap* t = r.taps; t != r.taps + r.tap_count; ++t) {
    const int64_t shift = (t->dh * p.in_w + t->dw) * p.in_pixel;
    const float* a[Rows];
    if (kInRow || !r.padded) {
      for (int m = 0; m < Rows; ++m) a[m] = pixels.in(m) + shift;
    } else if constexpr (!kInRow) {
      bool any = false;
      for (int m = 0; m < Rows; ++m) {
        const bool inside =
            uint64_t(pixels.ih[m] + t->dh) < uint64_t(p.in_h) && uint64_t(pixels.iw[m] + t->dw) < uint64_t(p.in_w);
        a[m] = inside ? pixels.in(m) + shift : p.zeros;
        any |= inside;
      }
      if (!any) continue;
    }
    const float* b = packed + (t->index * p.k + p.k_begin) * kColumns;
    const int64_t k_end = p.k_end + (t->count - 1) * p.k;
    for (int64_t k = p.k_begin; k < k_end; ++k, b += kColumns) {
      typename Vec::T bv[Vectors];
      // Weights that come from beyond the second-level cache, page after page: no processor fetches across pages.
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(b + v * kLanes + kWeightsAhead, 0, 2);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) bv[v] = Vec::load(b + v * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < Rows; ++m) {
        const typename Vec::T av = Vec::broadcast(a[m] + k);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::fma(av, bv[v], acc[m][v]);
      }
    }
  }

  const bool plain = !p.bias && !p.residual && !p.relu;
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v) {
    const int64_t c = panel * kColumns + v * kLanes;
    if (plain && p.columns - c >= kLanes) {
#pragma GCC unroll 16
      for (int m = 0; m < Rows; ++m) Vec::store(p.out + pixels.out(m) + c, acc[m][v]);
      continue;
    }
    const typename Vec::Mask mask = Vec::mask(p.columns - c);
    const typename Vec::T bias = p.bias ? Vec::load(p.bias + c, mask) : Vec::zero();
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
      typename Vec::T y = acc[m][v];
      if (p.bias) y = Vec::add(y, bias);
      if (p.residual) y = Vec::add(y, Vec::load(p.residual + pixels.out(m) + c, mask));
      if (p.relu) y = Vec::relu(y);
      Vec::store_first(p.columns - c, p.out + pixels.out(m) + c, y, mask);
    }
  }
}

template <int Rows, int Vectors>
void weight_gradient_tile(const WeightGradientTile& t) {
  typename Vec::T acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::zero();
  const int64_t x_step = t.stride_w * kLanes;
  int64_t n = t.row_begin / t.oh, oh = t.row_begin % t.oh;
  for (int64_t row = t.row_begin; row < t.row_end; ++row) {
    const int64_t ih = oh * t.stride_h + t.dh;
    if (uint64_t(ih) < uint64_t(t.ih)) {
      const float* x = t.x + ((n * t.ih + ih - t.x_row0) * t.iw + t.w_begin * t.stride_w + t.dw) * kLanes;
      const float* gy = t.gy + ((row - t.row_begin) * t.ow + t.w_begin) * kColumns;
      for (int64_t w = t.w_begin; w < t.w_end; ++w, x += x_step, gy += kColumns) {
        typename Vec::T g[Vectors];
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) g[v] = Vec::load(gy + v * kLanes);
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) {
          const typename Vec::T xv = Vec::broadcast(x + m);
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::fma(xv, g[v], acc[m][v]);
        }
      }
    }
    if (++oh == t.oh) oh = 0, ++n;
  }
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* const s = t.sum + m * kColumns + v * kLanes;
      Vec::store(s, t.accumulate ? Vec::add(Vec::load(s), acc[m][v]) : acc[m][v]);
    }
}

// One tile of pixels, or several side by side in a row.
template <int Rows, int Vectors, bool kInRow>
void gather_tiles(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  std::conditional_t<kInRow, RowPixels, TilePixels<Rows>> pixels(p, r, block.n0, block.first);
  for (int64_t i = 0; i < block.pixels; i += Rows) {
    for (int64_t panel = block.panel; panel < block.panel + block.panels; ++panel)
      gather_tile<Rows, Vectors>(p, r, pixels, panel);
    if constexpr (kInRow) pixels.advance(Rows);
  }
}

// Tiles of 1..kRows rows by one or two vectors, as tables.
using GatherTiles = void (*)(const GatherGemm&, const GatherRegion&, const GatherBlock&);
using WeightGradientTileFn = void (*)(const WeightGradientTile&);

template <int Vectors, bool kInRow, int... I>
constexpr std::array<GatherTiles, kRows> gather_table(std::integer_sequence<int, I...>) {
  return {gather_tiles<I + 1, Vectors, kInRow>...};
}
template <int Vectors, int... I>
constexpr std::array<WeightGradientTileFn, kRows> weight_gradient_tiles(std::integer_sequence<int, I...>) {
  return {weight_gradient_tile<I + 1, Vectors>...};
}

void gather(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  constexpr std::make_integer_sequence<int, kRows> heights;
  static constexpr std::array<GatherTiles, kRows> tables[2][2] = {
      {gather_table<1, false>(heights), gather_table<1, true>(heights)},
      {gather_table<2, false>(heights), gather_table<2, true>(heights)}};
  const bool in_row = !r.padded && block.first % r.w + block.pixels <= r.w;
  // As few tiles as possible, of the same height but for the last; the last panel may have columns for one vector.
  const int64_t rows = ceil_div(block.pixels, ceil_div(block.pixels, int64_t(kRows))), rest = block.pixels % rows;
  const bool last_narrow = p.columns - (block.panel + block.panels - 1) * kColumns <= kLanes;
  const auto compute = [&](const GatherGemm& q, const GatherRegion& part) {
    const auto tiles = [&](GatherBlock b, int64_t height) {
      if (b.panels -= last_narrow; b.panels > 0) tables[1][in_row][size_t(height - 1)](q, part, b);
      b.panel += b.panels;
      b.panels = 1;
      if (last_narrow) tables[0][in_row][size_t(height - 1)](q, part, b);
    };
    tiles({block.n0, block.first, block.pixels - rest, block.panel, block.panels}, rows);
    if (rest > 0) tiles({block.n0, block.first + block.pixels - rest, rest, block.panel, block.panels}, rest);
  };
  if (r.tap_count * p.k <= kChain) return compute(p, r);
  GatherGemm q = p;
  GatherRegion part = r;
  const int64_t taps = std::max<int64_t>(kChain / p.k, 1);
  for (int64_t t = 0; t < r.tap_count; t += taps)
    for (int64_t k = 0; k < p.k; k += kChain) {
      part.taps = r.taps + t;
      part.tap_count = std::min(taps, r.tap_count - t);
      q.k_begin = k;
      q.k_end = std::min(k + kChain, p.k);
      q.relu = p.relu && t + taps >= r.tap_count && q.k_end == p.k;
      compute(q, part);
      q.bias = nullptr;
      q.residual = p.out;
    }
}

void weight_gradient(const WeightGradientTile& t) {
  static constexpr auto one = weight_gradient_tiles<1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = weight_gradient_tiles<2>(std::make_integer_sequence<int, kRows>());
  const WeightGradientTileFn tile = (t.columns > kLanes ? two : one)[size_t(t.rows - 1)];
  if (t.w_end - t.w_begin <= kChain) return tile(t);
  WeightGradientTile part = t;  // of one row: a block of rows has few pixels
  for (int64_t w = t.w_begin; w < t.w_end; w += kChain) {
    part.w_begin = w;
    part.w_end = std::min(w + kChain, t.w_end);
    tile(part);
    part.accumulate = true;
  }
}

void copy_channels(const float* src, int64_t pixel, int64_t columns, int64_t pixels, float* dst, int64_t width) {
  constexpr int64_t kAhead = 16;  // pixels: too far from each other for the processor to guess the next
  for (int64_t v = 0; v < width; v += kLanes) {
    const typename Vec::Mask mask = Vec::mask(columns - v);
    for (int64_t i = 0; i < pixels; ++i) {
      __builtin_prefetch(src + (i + kAhead) * pixel + v);
      Vec::store(dst + i * width + v, Vec::load(src + i * pixel + v, mask));
    }
  }
}

void transpose(const float* const* src, int rows, int columns, float* const* dst, int stored) {
  typename Vec::T v[kLanes];
  const typename Vec::Mask loaded = Vec::mask(columns), kept = Vec::mask(stored);
#pragma GCC unroll 16
  for (int r = 0; r < kLanes; ++r) v[r] = r < rows ? Vec::load(src[r], loaded) : Vec::zero();
  Vec::transpose(v);
#pragma GCC unroll 16
  for (int c = 0; c < kLanes; ++c)
    if (c < columns) Vec::store(dst[c], v[c], kept);
}

constexpr TilesF32 kTiles = {kRows, kColumns, kLanes, gather, weight_gradient, copy_channels, transpose};
