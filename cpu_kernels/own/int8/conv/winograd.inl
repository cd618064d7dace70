// The vector code of the exact Winograd convolution (winograd.h). Included inside the target region and
// namespace of each instruction set, which has defined
//   kLanes                        32-bit lanes of a vector
//   Vec                           a vector of 16-bit or 32-bit integers
//   load(p), store(p, v), broadcast_pair(p)     unaligned; two 16-bit integers into every 32-bit lane
//   load_codes_16(p), load_codes_16(p, n)       2 * kLanes u8 codes, or the first n and zeros, as 16-bit integers
//   load_weights_16(p)                          2 * kLanes s8 weights as 16-bit integers
//   add16, sub16, shl16<n>, mul16<n>, add32, sub32, shl32<n>, mul32, splat32
//   dot(acc, x, u)                acc + the sums of two 16-bit products
//   Epilogue(t, v).store(p, n, sums)    from 64 times the sums of vector v, pixels p .. p + n - 1 (n <= 4), to the
//   output

// B^T of six values, in place.
inline void transform_input(Vec (&d)[6]) {
  const Vec p = sub16(d[4], shl16<2>(d[2])), q = sub16(d[3], shl16<2>(d[1]));
  const Vec r = sub16(d[4], d[2]), s = sub16(d[3], d[1]), t = add16(s, s);
  d[0] = add16(shl16<2>(sub16(d[0], d[2])), r);
  d[5] = sub16(sub16(d[5], d[3]), add16(t, t));
  d[1] = add16(p, q);
  d[2] = sub16(p, q);
  d[3] = add16(r, t);
  d[4] = sub16(r, t);
}

template <class Load>
inline void transform_patch(const Load& pixel, int16_t* v, int64_t point_stride) {
  Vec rows[6][6];
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) rows[i][j] = pixel(i * 6 + j);
    transform_input(rows[i]);
  }
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    Vec column[6] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]};
    transform_input(column);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) store(v + (i * 6 + j) * point_stride, column[i]);
  }
}

void input(const uint8_t* const* x, int64_t channels, int16_t* v, int64_t point_stride) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes)
    transform_patch(
        [&](int i) __attribute__((always_inline)) { return load_codes_16(x[i] + c); }, v + c, point_stride);
  if (c < channels)
    transform_patch(
        [&](int i) __attribute__((always_inline)) { return load_codes_16(x[i] + c, channels - c); }, v + c,
        point_stride);
}

// S G of three values.
inline void transform_filter(const Vec (&f)[3], Vec (&u)[6]) {
  const Vec even = add16(f[0], f[2]), wide = add16(f[0], shl16<2>(f[2])), twice = add16(f[1], f[1]);
  u[0] = mul16<6>(f[0]);
  u[1] = mul16<-4>(add16(even, f[1]));
  u[2] = mul16<-4>(sub16(even, f[1]));
  u[3] = add16(wide, twice);
  u[4] = sub16(wide, twice);
  u[5] = mul16<12>(f[2]);
}

void filter(const int8_t* w, int64_t steps, int16_t* u, int64_t point_stride) {
  constexpr int kTap = 4 * kLanes;  // weights per tap and step: two input channels of two vectors
  for (int64_t k = 0; k < steps; ++k, w += 9 * kTap, u += kTap)
    for (int v = 0; v < kTap; v += 2 * kLanes) {
      Vec columns[3][6];
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        const Vec column[3] = {load_weights_16(w + j * kTap + v), load_weights_16(w + (3 + j) * kTap + v),
                               load_weights_16(w + (6 + j) * kTap + v)};
        transform_filter(column, columns[j]);
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) {
        const Vec row[3] = {columns[0][i], columns[1][i], columns[2][i]};
        Vec out[6];
        transform_filter(row, out);
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) store(u + (i * 6 + j) * point_stride + v, out[j]);
      }
    }
}

template <int kTiles>
void product(const int16_t* v, int64_t v_stride, const int16_t* u, int64_t steps, const int32_t* start, int32_t* m,
             const int16_t* ahead, int64_t ahead_step) {
  constexpr int64_t kMStride = kWinogradPoints * 2 * kLanes;  // from a tile to the next
  constexpr int kLine = 32;                                   // of the cache
  Vec acc[kTiles][2];
#pragma GCC unroll 16
  for (int t = 0; t < kTiles; ++t) {
    const int32_t* const from = start ? start : m + t * kMStride;
    acc[t][0] = load(from);
    acc[t][1] = load(from + kLanes);
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < steps; ++k, u += 4 * kLanes) {
    for (int i = 0; i < 4 * kLanes; i += kLine) __builtin_prefetch(ahead + k * ahead_step + i);
    const Vec u0 = load(u), u1 = load(u + 2 * kLanes);
#pragma GCC unroll 16
    for (int t = 0; t < kTiles; ++t) {
      const Vec x = broadcast_pair(v + t * v_stride + 2 * k);
      acc[t][0] = dot(acc[t][0], x, u0);
      acc[t][1] = dot(acc[t][1], x, u1);
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < kTiles; ++t) {
    store(m + t * kMStride, acc[t][0]);
    store(m + t * kMStride + kLanes, acc[t][1]);
  }
}

// A^T of six values.
inline void transform_output(const Vec (&m)[6], Vec (&y)[4]) {
  const Vec a = add32(m[1], m[2]), b = sub32(m[1], m[2]), c = add32(m[3], m[4]), d = sub32(m[3], m[4]);
  const Vec e = add32(shl32<2>(d), m[5]);
  y[0] = add32(add32(m[0], a), c);
  y[1] = add32(b, add32(d, d));
  y[2] = add32(a, shl32<2>(c));
  y[3] = add32(b, add32(e, e));
}

void output(const QTile& t, int rows, int cols, const int32_t* m) {
  const Vec inverse = splat32(int(kInverseOfNine));
  for (int v = 0; v * kLanes < t.channels; ++v) {
    const int32_t* const from = m + v * kLanes;
    Vec columns[6][4];
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      Vec column[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) column[i] = load(from + (i * 6 + j) * 2 * kLanes);
      transform_output(column, columns[j]);
    }
    const Epilogue epilogue(t, v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      if (i == rows) break;
      const Vec row[6] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]};
      Vec y[4];
      transform_output(row, y);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) y[j] = mul32(y[j], inverse);
      epilogue.store(i * 4, cols, y);
    }
  }
}

template <int... kTiles>
constexpr auto products(std::integer_sequence<int, kTiles...>) {
  return std::array<WinogradIsa::Product, sizeof...(kTiles)>{product<kTiles + 1>...};
}
