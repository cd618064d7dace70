// The passes of batch_norm.cpp over a block of rows. Included inside a target region, once per instruction set.

// mean[i] and m2[i] = sum((x - mean)^2) of each channel. The second pass finds the block in cache; it also takes the
// rounding of the first one's mean out again (Chan, Golub and LeVeque 1983, "corrected two-pass").
struct Moments {
  const float* x;
  int64_t rows, c;
  double *mean, *m2;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    const double inv = 1.0 / double(rows);
    Wide<V> sums[K] = {}, deviations[K] = {}, squares[K] = {};
    for (int64_t first = 0; first < rows; first += kChain) {
      const int64_t last = first + kChain < rows ? first + kChain : rows;
      V sum[K] = {};
      for (int64_t r = first; r < last; ++r)
        for (int k = 0; k < K; ++k) sum[k] += load<V>(x + r * c + i + k * lanes);
      for (int k = 0; k < K; ++k) add(sums[k], sum[k]);
    }
    V m[K];
    for (int k = 0; k < K; ++k) m[k] = narrow(sums[k] * inv);
    for (int64_t first = 0; first < rows; first += kChain) {
      const int64_t last = first + kChain < rows ? first + kChain : rows;
      V d1[K] = {}, d2[K] = {};
      for (int64_t r = first; r < last; ++r)
        for (int k = 0; k < K; ++k) {
          const V d = load<V>(x + r * c + i + k * lanes) - m[k];
          d1[k] += d;
          d2[k] += d * d;
        }
      for (int k = 0; k < K; ++k) add(deviations[k], d1[k]), add(squares[k], d2[k]);
    }
    for (int k = 0; k < K; ++k) {
      Wide<V> exact = deviations[k] * inv;
      store(m2 + i + k * lanes, squares[k] - deviations[k] * exact);
      add(exact, m[k]);
      store(mean + i + k * lanes, exact);
    }
  }
};

// y = (x - mean) * scale + shift
struct Normalize {
  const float* x;
  int64_t rows, c;
  const float *mean, *scale, *shift;
  float* y;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    V m[K], s[K], b[K];
    for (int k = 0; k < K; ++k) {
      m[k] = load<V>(mean + i + k * lanes);
      s[k] = load<V>(scale + i + k * lanes);
      b[k] = load<V>(shift + i + k * lanes);
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int k = 0; k < K; ++k) {
        const int64_t at = r * c + i + k * lanes;
        store(y + at, (load<V>(x + at) - m[k]) * s[k] + b[k]);
      }
  }
};

// sum(gy) and sum(gy * (x - mean))
struct GradientSums {
  const float *x, *gy;
  int64_t rows, c;
  const float* mean;
  double *sum, *product;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    V m[K];
    for (int k = 0; k < K; ++k) m[k] = load<V>(mean + i + k * lanes);
    Wide<V> sums[K] = {}, products[K] = {};
    for (int64_t first = 0; first < rows; first += kChain) {
      const int64_t last = first + kChain < rows ? first + kChain : rows;
      V s[K] = {}, p[K] = {};
      for (int64_t r = first; r < last; ++r)
        for (int k = 0; k < K; ++k) {
          const int64_t at = r * c + i + k * lanes;
          const V g = load<V>(gy + at);
          s[k] += g;
          p[k] += g * (load<V>(x + at) - m[k]);
        }
      for (int k = 0; k < K; ++k) add(sums[k], s[k]), add(products[k], p[k]);
    }
    for (int k = 0; k < K; ++k) {
      store(sum + i + k * lanes, sums[k]);
      store(product + i + k * lanes, products[k]);
    }
  }
};

// gx = gy * scale - shift - (x - mean) * slope
struct InputGradient {
  const float *x, *gy;
  int64_t rows, c;
  const float *mean, *scale, *shift, *slope;
  float* gx;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    for (int64_t r = 0; r < rows; ++r)
      for (int k = 0; k < K; ++k) {
        const int64_t j = i + k * lanes, at = r * c + j;
        const V d = load<V>(x + at) - load<V>(mean + j);
        store(gx + at, load<V>(gy + at) * load<V>(scale + j) - load<V>(shift + j) - d * load<V>(slope + j));
      }
  }
};

void moments(const float* x, int64_t rows, int64_t c, double* mean, double* m2) {
  for_strips(c, Moments{x, rows, c, mean, m2});
}
void normalize(const float* x, int64_t rows, int64_t c, const float* mean, const float* scale, const float* shift,
               float* y) {
  for_strips(c, Normalize{x, rows, c, mean, scale, shift, y});
}
void gradient_sums(const float* x, const float* gy, int64_t rows, int64_t c, const float* mean, double* sum,
                   double* product) {
  for_strips(c, GradientSums{x, gy, rows, c, mean, sum, product});
}
void input_gradient(const float* x, const float* gy, int64_t rows, int64_t c, const float* mean, const float* scale,
                    const float* shift, const float* slope, float* gx) {
  for_strips(c, InputGradient{x, gy, rows, c, mean, scale, shift, slope, gx});
}

constexpr Passes kPasses{moments, normalize, gradient_sums, input_gradient};
