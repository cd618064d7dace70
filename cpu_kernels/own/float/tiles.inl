// Included once per instruction set inside its target region and an anonymous namespace, after
//   struct Vec { T, Mask, lanes, zero, broadcast, load, store, mask, fma, add, relu, transpose };
//   constexpr int kRows;   // tile height: kRows x 2 accumulators, 2 columns of B and 1 broadcast must fit the
//   registers

constexpr int kLanes = Vec::lanes, kColumns = 2 * Vec::lanes;
constexpr int kDepthwiseRows = std::min(kRows, 8);  // enough that no sum waits for its own last product
constexpr int64_t kWeightsAhead = 2048;             // floats: two pages
constexpr int64_t kPixelsAhead = 16;                // too far from each other for the processor to guess the next
// The most products that a sum adds up in registers: a longer chain of additions would lose digits, so it is cut, and
// the pieces are added up in memory.
constexpr int64_t kChain = 8192;
static_assert(kLongestRuns <= kChain);  // runs are not cut

// Where a number of each pixel of a tile lies; then where the next number of each does.
template <int Rows>
struct Scattered {
  const float* first[Rows];
  int64_t i = 0;

  const float* at(int m) const { return first[m] + i; }
  void next() { ++i; }
};

// The same for pixels at equal distances. Few registers reach them all, as an address is a base and one, two, four or
// eight times an index. A pointer for each would not fit beside the loop, and to move them to and fro takes as long as
// a third of a short sum.
class Line {
 public:
  Line(const float* first, int64_t step)
      : near_(reinterpret_cast<const char*>(first)), step_(step * int64_t(sizeof(float))), far_(near_ + kFar * step_) {}

  const float* at(int m) const {
    const int64_t offsets[kFar] = {0, step_, 2 * step_, step3_, 4 * step_, step5_, 2 * step3_};
    return reinterpret_cast<const float*>((m < kFar ? near_ : far_) + offsets[m % kFar]);
  }
  void next() {
    near_ += sizeof(float);
    far_ += sizeof(float);
    asm("" : "+r"(near_), "+r"(far_));  // else the compiler makes a pointer for each all the same
  }

 private:
  static constexpr int kFar = 7;
  static_assert(kRows <= 2 * kFar);
  const char* near_;
  int64_t step_, step3_ = 3 * step_, step5_ = 5 * step_;
  const char* far_;
};

// Where the pixels of a tile read and write.
template <int Rows>
class TilePixels {
 public:
  TilePixels(const GatherGemm& p, const GatherRegion& r, int64_t n0, int64_t first) {
    int64_t j = first % r.w, i = first / r.w % r.h, n = n0 + first / (r.w * r.h);
    for (int m = 0; m < Rows; ++m) {
      ih_[m] = r.in_h0 + i * p.step_h;
      iw_[m] = r.in_w0 + j * p.step_w;
      in_[m] = p.in + ((n * p.in_h + ih_[m]) * p.in_w + iw_[m]) * p.in_pixel;
      out_[m] = r.out0 + n * p.out_n + i * p.out_h + j * p.out_w;
      if (++j == r.w) {
        j = 0;
        if (++i == r.h) i = 0, ++n;
      }
    }
  }
  // Calls f with the first numbers that they read under a tap, unless all of it is padding.
  template <class F>
  [[gnu::always_inline]] void under(const GatherGemm& p, bool padded, const Tap& t, const F& f) const {
    const int64_t shift = (t.dh * p.in_w + t.dw) * p.in_pixel;
    Scattered<Rows> in;
    bool any = !padded;
    for (int m = 0; m < Rows; ++m) {
      const bool inside =
          !padded || (uint64_t(ih_[m] + t.dh) < uint64_t(p.in_h) && uint64_t(iw_[m] + t.dw) < uint64_t(p.in_w));
      in.first[m] = inside ? in_[m] + shift : p.zeros;
      any |= inside;
    }
    if (any) f(in);
  }
  // Their numbers of a matrix that is laid out like `out`.
  Scattered<Rows> of(const float* like_out) const {
    Scattered<Rows> numbers;
    for (int m = 0; m < Rows; ++m) numbers.first[m] = like_out + out_[m];
    return numbers;
  }

 private:
  int64_t ih_[Rows], iw_[Rows];
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
  template <class F>
  [[gnu::always_inline]] void under(const GatherGemm& p, bool, const Tap& t, const F& f) const {
    f(Line(in_ + (t.dh * p.in_w + t.dw) * p.in_pixel, in_step_));
  }
  Line of(const float* like_out, int first = 0) const { return Line(like_out + out_ + first * out_step_, out_step_); }
  void advance(int pixels) {
    in_ += pixels * in_step_;
    out_ += pixels * out_step_;
  }

 private:
  const float* in_;
  int64_t out_;
  int64_t in_step_, out_step_;
};

// Adds to a tile's sums what else belongs to the output, and stores them from `column` on.
template <int Rows, int Vectors, class Pixels>
[[gnu::always_inline]] inline void finish(const GatherGemm& p, const Pixels& pixels, int64_t column,
                                          const typename Vec::T (&acc)[Rows][Vectors]) {
  const auto out = pixels.of(p.out + column), residual = pixels.of((p.residual ? p.residual : p.out) + column);
  const auto store = [&](int m, int v) { return const_cast<float*>(out.at(m)) + v * kLanes; };
  if (!p.bias && !p.residual && !p.relu && p.columns - column >= Vectors * kLanes) {
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) Vec::store(store(m, v), acc[m][v]);
    return;
  }
#pragma GCC unroll 2
  for (int v = 0; v < Vectors; ++v) {
    const int64_t left = p.columns - column - v * kLanes;
    const typename Vec::Mask mask = Vec::mask(left);
    const typename Vec::T bias = p.bias ? Vec::load(p.bias + column + v * kLanes, mask) : Vec::zero();
#pragma GCC unroll 16
    for (int m = 0; m < Rows; ++m) {
      typename Vec::T y = acc[m][v];
      if (p.bias) y = Vec::add(y, bias);
      if (p.residual) y = Vec::add(y, Vec::load(residual.at(m) + v * kLanes, mask));
      if (p.relu) y = Vec::relu(y);
      Vec::store_first(left, store(m, v), y, mask);
    }
  }
}

template <int Rows, int Vectors, class Pixels>
[[gnu::always_inline]] inline void gather_tile(const GatherGemm& p, const GatherRegion& r, const Pixels& pixels,
                                               int64_t panel) {
  const int64_t column = panel * kColumns;
  if (p.residual) {  // it is read last and all at once: too late to wait for memory
    const auto residual = pixels.of(p.residual + column);
    for (int m = 0; m < Rows; ++m)
      for (int c = 0; c < kColumns; c += 16) __builtin_prefetch(residual.at(m) + c);
  }

  if constexpr (std::is_same_v<Pixels, RowPixels>) {  // nor may the next tile's stores wait: a short sum ends too early
    const Line next = pixels.of(p.out + column, Rows);
    for (int m = 0; m < Rows; ++m)
      for (int c = 0; c < kColumns; c += 16) __builtin_prefetch(next.at(m) + c, 1);
  }

  typename Vec::T acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::zero();

  const float* const packed = p.packed + panel * p.taps * p.k * kColumns;
  for (const Tap* t = r.taps; t != r.taps + r.tap_count; ++t)
    pixels.under(
        p, r.padded, *t, [&](auto in) __attribute__((always_inline)) {
          const float* b = packed + t->index * p.k * kColumns;
          const float* const end = b + (p.k_count + (t->count - 1) * p.k) * kColumns;
          for (; b != end; b += kColumns, in.next()) {
            typename Vec::T bv[Vectors];
            // Weights that come from beyond the second-level cache, page after page: no processor fetches across pages.
            for (int v = 0; v < Vectors; ++v) __builtin_prefetch(b + v * kLanes + kWeightsAhead, 0, 2);
#pragma GCC unroll 2
            for (int v = 0; v < Vectors; ++v) bv[v] = Vec::load(b + v * kLanes);
#pragma GCC unroll 16
            for (int m = 0; m < Rows; ++m) {
              const typename Vec::T av = Vec::broadcast(in.at(m));
#pragma GCC unroll 2
              for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::fma(av, bv[v], acc[m][v]);
            }
          }
        });

  finish(p, pixels, column, acc);
}

// A vector of channels, each with a kernel of its own.
template <int Rows, class Pixels>
[[gnu::always_inline]] inline void depthwise_tile(const GatherGemm& p, const GatherRegion& r, const Pixels& pixels,
                                                  int64_t column) {
  const float* const packed = p.packed + column / kColumns * p.taps * kColumns + column % kColumns;
  typename Vec::T acc[Rows][1];
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m) acc[m][0] = Vec::zero();
  const auto add_taps = [&](const auto& load) __attribute__((always_inline)) {
    for (const Tap* t = r.taps; t != r.taps + r.tap_count; ++t)
      pixels.under(
          p, r.padded, *t, [&](const auto& in) __attribute__((always_inline)) {
            const typename Vec::T w = Vec::load(packed + t->index * kColumns);
#pragma GCC unroll 16
            for (int m = 0; m < Rows; ++m) acc[m][0] = Vec::fma(load(in.at(m)), w, acc[m][0]);
          });
  };
  if (p.columns - column >= kLanes)
    add_taps([&](const float* from) { return Vec::load(from + column); });
  else
    add_taps([&, mask = Vec::mask(p.columns - column)](const float* from) { return Vec::load(from + column, mask); });
  finish(p, pixels, column, acc);
}

// Calls f(x, gy) for each pixel whose tap falls inside the input.
template <class F>
[[gnu::always_inline]] inline void for_pixels(const WeightGradientTile& t, const F& f) {
  const int64_t x_step = t.stride_w * t.x_pixel;
  int64_t n = t.row_begin / t.oh, oh = t.row_begin % t.oh;
  for (int64_t row = t.row_begin; row < t.row_end; ++row) {
    const int64_t ih = oh * t.stride_h + t.dh;
    if (uint64_t(ih) < uint64_t(t.ih)) {
      const float* x = t.x + (n * t.ih + ih - t.x_row0) * t.x_row + (t.w_begin * t.stride_w + t.dw) * t.x_pixel;
      const float* gy = t.gy + ((row - t.row_begin) * t.ow + t.w_begin) * t.gy_pixel;
      for (int64_t w = t.w_begin; w < t.w_end; ++w, x += x_step, gy += t.gy_pixel) f(x, gy);
    }
    if (++oh == t.oh) oh = 0, ++n;
  }
}

template <int Rows, int Vectors>
void weight_gradient_tile(const WeightGradientTile& t) {
  typename Vec::T acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::zero();
  for_pixels(
      t, [&](const float* x, const float* gy) __attribute__((always_inline)) {
        typename Vec::T g[Vectors];
        for (int c = 0; c < Vectors * kLanes; c += 16) __builtin_prefetch(gy + kPixelsAhead * t.gy_pixel + c);
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) g[v] = Vec::load(gy + v * kLanes);
#pragma GCC unroll 16
        for (int m = 0; m < Rows; ++m) {
          const typename Vec::T xv = Vec::broadcast(x + m);
#pragma GCC unroll 2
          for (int v = 0; v < Vectors; ++v) acc[m][v] = Vec::fma(xv, g[v], acc[m][v]);
        }
      });
#pragma GCC unroll 16
  for (int m = 0; m < Rows; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* const s = t.sum + m * kColumns + v * kLanes;
      Vec::store(s, t.accumulate ? Vec::add(Vec::load(s), acc[m][v]) : acc[m][v]);
    }
}

// The same of channels that have a kernel each: sum[c] for `columns` channels, up to kDepthwiseVectors vectors.
template <int Vectors>
void depthwise_weight_gradient_tile(const WeightGradientTile& t) {
  const typename Vec::Mask mask = Vec::mask(t.columns - (Vectors - 1) * kLanes);
  const auto load = [&](const float* from, int v) __attribute__((always_inline)) {
    return v < Vectors - 1 ? Vec::load(from + v * kLanes) : Vec::load(from + v * kLanes, mask);
  };
  typename Vec::T acc[Vectors];
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) acc[v] = Vec::zero();
  for_pixels(
      t, [&](const float* x, const float* gy) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) acc[v] = Vec::fma(load(x, v), load(gy, v), acc[v]);
      });
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    float* const s = t.sum + v * kLanes;
    const typename Vec::T sum = t.accumulate ? Vec::add(load(t.sum, v), acc[v]) : acc[v];
    Vec::store_first(t.columns - v * kLanes, s, sum, mask);
  }
}

// Calls f(pixels) for each tile of a block.
template <int Rows, bool kInRow, class F>
[[gnu::always_inline]] inline void for_tile_pixels(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block,
                                                   const F& f) {
  if constexpr (kInRow) {
    RowPixels pixels(p, r, block.n0, block.first);
    for (int64_t i = 0; i < block.pixels; i += Rows, pixels.advance(Rows)) f(pixels);
  } else {
    for (int64_t i = 0; i < block.pixels; i += Rows) f(TilePixels<Rows>(p, r, block.n0, block.first + i));
  }
}

template <int Rows, int Vectors, bool kInRow>
void gather_tiles(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  for_tile_pixels<Rows, kInRow>(
      p, r, block, [&](const auto& pixels) __attribute__((always_inline)) {
        for (int64_t panel = block.panel; panel < block.panel + block.panels; ++panel)
          gather_tile<Rows, Vectors>(p, r, pixels, panel);
      });
}
template <int Rows, bool kInRow>
void depthwise_tiles(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  for_tile_pixels<Rows, kInRow>(
      p, r, block, [&](const auto& pixels) __attribute__((always_inline)) {
        const int64_t end = std::min((block.panel + block.panels) * kColumns, p.columns);
        for (int64_t column = block.panel * kColumns; column < end; column += kLanes)
          depthwise_tile<Rows>(p, r, pixels, column);
      });
}

// Tiles of 1..kRows rows by one or two vectors, as tables.
using GatherTiles = void (*)(const GatherGemm&, const GatherRegion&, const GatherBlock&);
using WeightGradientTileFn = void (*)(const WeightGradientTile&);

template <int Vectors, bool kInRow, int... I>
constexpr std::array<GatherTiles, kRows> gather_table(std::integer_sequence<int, I...>) {
  return {gather_tiles<I + 1, Vectors, kInRow>...};
}
template <bool kInRow, int... I>
constexpr std::array<GatherTiles, kDepthwiseRows> depthwise_table(std::integer_sequence<int, I...>) {
  return {depthwise_tiles<I + 1, kInRow>...};
}
template <int Vectors, int... I>
constexpr std::array<WeightGradientTileFn, kRows> weight_gradient_tiles(std::integer_sequence<int, I...>) {
  return {weight_gradient_tile<I + 1, Vectors>...};
}

// A block of pixels, cut into as few tiles as possible, of the same height but for the last.
struct Cut {
  bool in_row;
  int64_t rows, rest;

  Cut(const GatherRegion& r, const GatherBlock& block, int64_t most_rows)
      : in_row(!r.padded && block.first % r.w + block.pixels <= r.w),
        rows(ceil_div(block.pixels, ceil_div(block.pixels, most_rows))),
        rest(block.pixels % rows) {}
  // Calls f(part of the block, height of its tiles).
  template <class F>
  void for_parts(GatherBlock block, const F& f) const {
    block.pixels -= rest;
    f(block, rows);
    block.first += block.pixels;
    block.pixels = rest;
    if (rest > 0) f(block, rest);
  }
};

// Calls compute(p, region) for the pieces of at most kChain products that sums of the region are made of, one after the
// other; each but the first adds to what is in out.
template <class F>
void for_chains(const GatherGemm& p, const GatherRegion& r, const F& compute) {
  if (r.tap_count * p.k <= kChain) return compute(p, r);
  GatherGemm q = p;
  GatherRegion part = r;
  const int64_t taps = std::max<int64_t>(kChain / p.k, 1);
  for (int64_t t = 0; t < r.tap_count; t += taps)
    for (int64_t k = 0; k < p.k; k += kChain) {
      part.taps = r.taps + t;
      part.tap_count = std::min(taps, r.tap_count - t);
      q.in = p.in + k;
      q.packed = p.packed + k * kColumns;
      q.k_count = std::min(kChain, p.k - k);
      q.relu = p.relu && t + taps >= r.tap_count && k + q.k_count == p.k;
      compute(q, part);
      q.bias = nullptr;
      q.residual = p.out;
    }
}

void gather(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  constexpr std::make_integer_sequence<int, kRows> heights;
  static constexpr std::array<GatherTiles, kRows> tables[2][2] = {
      {gather_table<1, false>(heights), gather_table<1, true>(heights)},
      {gather_table<2, false>(heights), gather_table<2, true>(heights)}};
  const Cut cut(r, block, kRows);
  // The last panel may have columns for one vector.
  const bool last_narrow = p.columns - (block.panel + block.panels - 1) * kColumns <= kLanes;
  for_chains(p, r, [&](const GatherGemm& q, const GatherRegion& part) {
    cut.for_parts(block, [&](GatherBlock b, int64_t height) {
      if (b.panels -= last_narrow; b.panels > 0) tables[1][cut.in_row][size_t(height - 1)](q, part, b);
      b.panel += b.panels;
      b.panels = 1;
      if (last_narrow) tables[0][cut.in_row][size_t(height - 1)](q, part, b);
    });
  });
}

void depthwise(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block) {
  constexpr std::make_integer_sequence<int, kDepthwiseRows> heights;
  static constexpr std::array<GatherTiles, kDepthwiseRows> tables[2] = {depthwise_table<false>(heights),
                                                                        depthwise_table<true>(heights)};
  const Cut cut(r, block, kDepthwiseRows);
  for_chains(p, r, [&](const GatherGemm& q, const GatherRegion& part) {
    cut.for_parts(block,
                  [&](const GatherBlock& b, int64_t height) { tables[cut.in_row][size_t(height - 1)](q, part, b); });
  });
}

// Runs a tile over its pixels, or over parts of its only row: a block of rows has few pixels.
void run_chains(const WeightGradientTile& t, WeightGradientTileFn tile) {
  if (t.w_end - t.w_begin <= kChain) return tile(t);
  WeightGradientTile part = t;
  for (int64_t w = t.w_begin; w < t.w_end; w += kChain) {
    part.w_begin = w;
    part.w_end = std::min(w + kChain, t.w_end);
    tile(part);
    part.accumulate = true;
  }
}

void weight_gradient(const WeightGradientTile& t) {
  static constexpr auto one = weight_gradient_tiles<1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = weight_gradient_tiles<2>(std::make_integer_sequence<int, kRows>());
  run_chains(t, (t.columns > kLanes ? two : one)[size_t(t.rows - 1)]);
}

void depthwise_weight_gradient(const WeightGradientTile& t) {
  static constexpr WeightGradientTileFn tiles[] = {depthwise_weight_gradient_tile<1>, depthwise_weight_gradient_tile<2>,
                                                   depthwise_weight_gradient_tile<3>,
                                                   depthwise_weight_gradient_tile<4>};
  static_assert(std::size(tiles) == kDepthwiseVectors);
  run_chains(t, tiles[ceil_div(t.columns, kLanes) - 1]);
}

void copy_channels(const float* src, int64_t pixel, int64_t columns, int64_t pixels, float* dst, int64_t width) {
  for (int64_t v = 0; v < width; v += kLanes) {
    const typename Vec::Mask mask = Vec::mask(columns - v);
    for (int64_t i = 0; i < pixels; ++i) {
      __builtin_prefetch(src + (i + kPixelsAhead) * pixel + v);
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

constexpr TilesF32 kTiles = {
    kRows, kColumns, kLanes, gather, depthwise, weight_gradient, depthwise_weight_gradient, copy_channels, transpose};
