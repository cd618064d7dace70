// The vector code of the fp32 Winograd convolution (winograd.h). Included once per instruction set inside its target
// region and an anonymous namespace, after struct Vec and
//   constexpr int kMostTiles;  // kMostTiles x 2 accumulators, 2 vectors of weights and 1 broadcast fit the registers
//   constexpr int64_t kCache;  // and kTiles: WinogradF32's cache and tiles

using V = Vec::T;
constexpr int kLanes = Vec::lanes, kColumns = 2 * kLanes;
constexpr float kA = 0.625f, kB = 1.5f, kA2 = kA * kA, kB2 = kB * kB;  // and their products: exact
constexpr float kN = 1 / (kA2 * kB2), kP = 1 / (2 * kA2 * (kA2 - kB2)), kQ = 1 / (2 * kB2 * (kB2 - kA2));

// c * x + y.
inline V axpy(float c, V x, V y) { return Vec::fma(Vec::splat(c), x, y); }
inline V times(float c, V x) { return Vec::mul(Vec::splat(c), x); }

// B^T of six values, in place.
inline void transform_input(V (&d)[6]) {
  const V even_a = axpy(-kB2, d[2], d[4]), odd_a = axpy(-kB2, d[1], d[3]);
  const V even_b = axpy(-kA2, d[2], d[4]), odd_b = axpy(-kA2, d[1], d[3]);
  d[0] = axpy(kA2 * kB2, d[0], axpy(-kA2 - kB2, d[2], d[4]));
  d[5] = axpy(kA2 * kB2, d[1], axpy(-kA2 - kB2, d[3], d[5]));
  d[1] = axpy(kA, odd_a, even_a);
  d[2] = axpy(-kA, odd_a, even_a);
  d[3] = axpy(kB, odd_b, even_b);
  d[4] = axpy(-kB, odd_b, even_b);
}

template <class Load>
inline void transform_patch(const Load& pixel, float* v, int64_t point_stride) {
  V rows[6][6];
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) rows[i][j] = pixel(i * 6 + j);
    transform_input(rows[i]);
  }
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    V column[6] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]};
    transform_input(column);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) Vec::store(v + (i * 6 + j) * point_stride, column[i]);
  }
}

template <class T>
void input(const T* const* x, int64_t channels, float* v, int64_t point_stride) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    transform_patch(
        [&](int i) __attribute__((always_inline)) { return Vec::load(x[i] + c); }, v + c, point_stride);
  const Vec::Mask rest = Vec::mask(channels - c);
  if (c < channels)
    transform_patch(
        [&](int i) __attribute__((always_inline)) { return Vec::load(x[i] + c, rest); }, v + c, point_stride);
}

// G of three values.
inline void transform_filter(const V (&w)[3], V (&u)[6]) {
  const V even_a = times(kP, axpy(kA2, w[2], w[0])), even_b = times(kQ, axpy(kB2, w[2], w[0]));
  u[0] = times(kN, w[0]);
  u[1] = axpy(kP * kA, w[1], even_a);
  u[2] = axpy(-kP * kA, w[1], even_a);
  u[3] = axpy(kQ * kB, w[1], even_b);
  u[4] = axpy(-kQ * kB, w[1], even_b);
  u[5] = w[2];
}

void filter(const float* w, int64_t tap_stride, int64_t k, float* u, int64_t point_stride) {
  for (int64_t at = 0; at < k * kColumns; at += kLanes) {
    V columns[3][6];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      const V column[3] = {Vec::load(w + j * tap_stride + at), Vec::load(w + (3 + j) * tap_stride + at),
                           Vec::load(w + (6 + j) * tap_stride + at)};
      transform_filter(column, columns[j]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const V row[3] = {columns[0][i], columns[1][i], columns[2][i]};
      V out[6];
      transform_filter(row, out);
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) Vec::store(u + (i * 6 + j) * point_stride + at, out[j]);
    }
  }
}

template <int kTiles>
void product(const float* v, int64_t v_stride, const float* u, int64_t k, bool add, float* m, const float* ahead,
             int64_t ahead_step) {
  constexpr int64_t kMStride = kWinogradPoints * kColumns;  // from a tile to the next
  constexpr int kLine = 16;                                 // of the cache
  V acc[kTiles][2];
#pragma GCC unroll 16
  for (int t = 0; t < kTiles; ++t) acc[t][0] = acc[t][1] = Vec::zero();
  for (int64_t i = 0; i < k; ++i, u += kColumns) {
    for (int line = 0; line < kColumns; line += kLine) __builtin_prefetch(ahead + i * ahead_step + line);
    const V u0 = Vec::load(u), u1 = Vec::load(u + kLanes);
#pragma GCC unroll 16
    for (int t = 0; t < kTiles; ++t) {
      const V x = Vec::broadcast(v + t * v_stride + i);
      acc[t][0] = Vec::fma(x, u0, acc[t][0]);
      acc[t][1] = Vec::fma(x, u1, acc[t][1]);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      float* const to = m + t * kMStride + half * kLanes;
      Vec::store(to, add ? Vec::add(Vec::load(to), acc[t][half]) : acc[t][half]);
    }
}

// A^T of six values.
inline void transform_output(const V (&m)[6], V (&y)[4]) {
  const V even_a = Vec::add(m[1], m[2]), odd_a = Vec::sub(m[1], m[2]);
  const V even_b = Vec::add(m[3], m[4]), odd_b = Vec::sub(m[3], m[4]);
  y[0] = Vec::add(m[0], Vec::add(even_a, even_b));
  y[1] = axpy(kA, odd_a, times(kB, odd_b));
  y[2] = axpy(kA2, even_a, times(kB2, even_b));
  y[3] = axpy(kA2 * kA, odd_a, axpy(kB2 * kB, odd_b, m[5]));
}

template <class T>
void output(const WinogradOutput<T>& o, const float* m) {
  for (int64_t c = 0; c < o.columns; c += kLanes) {
    V columns[6][4];
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      V column[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) column[i] = Vec::load(m + (i * 6 + j) * kColumns + c);
      transform_output(column, columns[j]);
    }
    const Vec::Mask mask = Vec::mask(o.columns - c);
    const V bias = o.bias ? Vec::load(o.bias + c, mask) : Vec::zero();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      if (i == o.rows) break;
      const V row[6] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]};
      V y[4];
      transform_output(row, y);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (j == o.cols) break;
        const int64_t at = i * o.row + j * o.pixel + c;
        V v = y[j];
        if (o.bias) v = Vec::add(v, bias);
        if (o.residual) v = Vec::add(v, Vec::load(o.residual + at, mask));
        if (o.relu) v = Vec::relu(v);
        Vec::store_first(o.columns - c, o.y + at, v, mask);
      }
    }
  }
}

// A of four values.
inline void transform_gradient(const V (&y)[4], V (&d)[6]) {
  const V even_a = axpy(kA2, y[2], y[0]), odd_a = axpy(kA2, y[3], y[1]);
  const V even_b = axpy(kB2, y[2], y[0]), odd_b = axpy(kB2, y[3], y[1]);
  d[0] = y[0];
  d[1] = axpy(kA, odd_a, even_a);
  d[2] = axpy(-kA, odd_a, even_a);
  d[3] = axpy(kB, odd_b, even_b);
  d[4] = axpy(-kB, odd_b, even_b);
  d[5] = y[3];
}

template <class T>
void gradient(const T* const* gy, int64_t channels, float* d, int64_t point_stride, int64_t panel_stride) {
  for (int64_t c = 0; c < round_up(channels, kColumns); c += kLanes) {
    const Vec::Mask mask = Vec::mask(channels - c);
    V rows[4][6];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const V row[4] = {Vec::load(gy[i * 4] + c, mask), Vec::load(gy[i * 4 + 1] + c, mask),
                        Vec::load(gy[i * 4 + 2] + c, mask), Vec::load(gy[i * 4 + 3] + c, mask)};
      transform_gradient(row, rows[i]);
    }
    float* const to = d + c / kColumns * panel_stride + c % kColumns;
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      const V column[4] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j]};
      V out[6];
      transform_gradient(column, out);
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) Vec::store(to + (i * 6 + j) * point_stride, out[i]);
    }
  }
}

// What lies so many floats behind p, which may be more than its array has.
inline void prefetch_behind(const float* p, int64_t floats) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + uintptr_t(floats) * sizeof(float)));
}

template <int kRows>
void correlation(const float* v, int64_t v_stride, const float* d, int64_t tiles, bool add, float* s) {
  V acc[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = Vec::zero();
  for (int64_t t = 0; t < tiles; ++t, v += v_stride, d += kColumns) {
    prefetch_behind(v, 12 * v_stride);  // rows lie too far apart for the hardware to follow
    prefetch_behind(v, 12 * v_stride + kRows - 1);
    const V d0 = Vec::load(d), d1 = Vec::load(d + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const V x = Vec::broadcast(v + r);
      acc[r][0] = Vec::fma(x, d0, acc[r][0]);
      acc[r][1] = Vec::fma(x, d1, acc[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      float* const to = s + r * kColumns + half * kLanes;
      Vec::store(to, add ? Vec::add(Vec::load(to), acc[r][half]) : acc[r][half]);
    }
}

// G^T of six values.
inline void transform_sums(const V (&s)[6], V (&w)[3]) {
  const V even_a = Vec::add(s[1], s[2]), odd_a = Vec::sub(s[1], s[2]);
  const V even_b = Vec::add(s[3], s[4]), odd_b = Vec::sub(s[3], s[4]);
  w[0] = axpy(kP, even_a, axpy(kQ, even_b, times(kN, s[0])));
  w[1] = axpy(kP * kA, odd_a, times(kQ * kB, odd_b));
  w[2] = axpy(kP * kA2, even_a, axpy(kQ * kB2, even_b, s[5]));
}

void filter_gradient(const float* s, int64_t point_stride, int64_t k, float* gw, int64_t tap_stride) {
  for (int64_t at = 0; at < k * kColumns; at += kLanes) {
    V columns[6][3];
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      V column[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) column[i] = Vec::load(s + (i * 6 + j) * point_stride + at);
      transform_sums(column, columns[j]);
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const V row[6] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]};
      V out[3];
      transform_sums(row, out);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) Vec::store(gw + (i * 3 + j) * tap_stride + at, out[j]);
    }
  }
}

// For 1, 2, .. kMostTiles tiles or rows.
template <int... kCount>
constexpr auto products(std::integer_sequence<int, kCount...>) {
  return std::array<WinogradF32::Product, sizeof...(kCount)>{product<kCount + 1>...};
}
template <int... kCount>
constexpr auto correlations(std::integer_sequence<int, kCount...>) {
  return std::array<WinogradF32::Correlation, sizeof...(kCount)>{correlation<kCount + 1>...};
}
constexpr auto kProducts = products(std::make_integer_sequence<int, kMostTiles>());
constexpr auto kCorrelations = correlations(std::make_integer_sequence<int, kMostTiles>());

constexpr WinogradF32 kWinograd{.tiles = kTiles,
                                .most_tiles = kMostTiles,
                                .cache = kCache,
                                .f32 = {input<float>, output<float>, gradient<float>},
                                .b16 = {input<bf16>, output<bf16>, gradient<bf16>},
                                .filter = filter,
                                .product = kProducts.data(),
                                .correlation = kCorrelations.data(),
                                .filter_gradient = filter_gradient};
