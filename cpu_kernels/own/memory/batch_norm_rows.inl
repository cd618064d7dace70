// The passes of batch_norm.cpp over a block of rows. Included inside a target region, once per instruction set.

// mean[i] and m2[i] = sum((x - mean)^2) of each channel. The second pass finds the block in cache; it also takes the
// rounding of the first one's mean out again (Chan, Golub and LeVeque 1983, "corrected two-pass").
template <class T>
struct Moments {
  const T* x;
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

// y = (x - mean) * scale + shift (+ residual), or 0 where that is negative and `relu` is true.
template <class T, bool kResidual>
struct Normalize {
  const T* x;
  const T* residual;
  int64_t rows, c;
  const float *mean, *scale, *shift;
  bool relu;
  T* y;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    const V floor = V{} + (relu ? 0.0f : -INFINITY);
    V m[K], s[K], b[K];
    for (int k = 0; k < K; ++k) {
      m[k] = load<V>(mean + i + k * lanes);
      s[k] = load<V>(scale + i + k * lanes);
      b[k] = load<V>(shift + i + k * lanes);
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int k = 0; k < K; ++k) {
        const int64_t at = r * c + i + k * lanes;
        V v = (load<V>(x + at) - m[k]) * s[k] + b[k];
        if constexpr (kResidual) v += load<V>(residual + at);
        store(y + at, v <= floor ? floor : v);
      }
  }
};

// The gradient behind the ReLU whose result is y, or gy itself: `kRelu` says whether there was one.
template <bool kRelu, class V, class T>
V behind_relu(const T* gy, const T* y, int64_t at) {
  const V g = load<V>(gy + at);
  if constexpr (kRelu)
    return load<V>(y + at) <= V{} ? V{} : g;
  else
    return g;
}

// With g the gradient behind the ReLU: sum(g) and sum(g * (x - mean)).
template <class T, bool kRelu>
struct GradientSums {
  const T *x, *gy, *y;
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
          const V g = behind_relu<kRelu, V>(gy, y, at);
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

// gx = g * scale - shift - (x - mean) * slope, and gresidual = g, where they are wanted
template <class T, bool kRelu>
struct InputGradient {
  const T *x, *gy, *y;
  int64_t rows, c;
  const float *mean, *scale, *shift, *slope;
  T *gx, *gresidual;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    for (int64_t r = 0; r < rows; ++r)
      for (int k = 0; k < K; ++k) {
        const int64_t j = i + k * lanes, at = r * c + j;
        const V g = behind_relu<kRelu, V>(gy, y, at), d = load<V>(x + at) - load<V>(mean + j);
        if (gx) store(gx + at, g * load<V>(scale + j) - load<V>(shift + j) - d * load<V>(slope + j));
        if (gresidual) store(gresidual + at, g);
      }
  }
};

// The same rows of all arrays.
template <class T>
T* shifted(T* p, int64_t at) {
  return p ? p + at : nullptr;
}

template <class T>
struct PassesOf {
  static void moments(const op::BatchNormMoments& a, int64_t at, int64_t rows, double* mean, double* m2) {
    for_strips(a.c, Moments<T>{a.x.as<T>() + at, rows, a.c, mean, m2});
  }
  static void apply(const op::BatchNormApply& a, const float* scale, int64_t at, int64_t rows) {
    const auto pass = [&]<bool kResidual>() {
      for_strips(a.c, Normalize<T, kResidual>{a.x.as<T>() + at, shifted(a.residual.as<T>(), at), rows, a.c,
                                              a.mean.as<float>(), scale, a.beta.as<float>(), a.relu, a.y.as<T>() + at});
    };
    a.residual ? pass.template operator()<true>() : pass.template operator()<false>();
  }
  static void gradient_sums(const op::BatchNormBwd& a, int64_t at, int64_t rows, double* sum, double* product) {
    const auto pass = [&]<bool kRelu>() {
      for_strips(a.c, GradientSums<T, kRelu>{a.x.as<T>() + at, a.gy.as<T>() + at, shifted(a.y.as<T>(), at), rows, a.c,
                                             a.mean.as<float>(), sum, product});
    };
    a.y ? pass.template operator()<true>() : pass.template operator()<false>();
  }
  static void input_gradient(const op::BatchNormBwd& a, const GradientFactors& f, int64_t at, int64_t rows) {
    const auto pass = [&]<bool kRelu>() {
      for_strips(a.c, InputGradient<T, kRelu>{a.x.as<T>() + at, a.gy.as<T>() + at, shifted(a.y.as<T>(), at), rows, a.c,
                                              a.mean.as<float>(), f.scale, f.shift, f.slope, shifted(a.gx.as<T>(), at),
                                              shifted(a.gresidual.as<T>(), at)});
    };
    a.y ? pass.template operator()<true>() : pass.template operator()<false>();
  }
  static constexpr Passes table{moments, apply, gradient_sums, input_gradient};
};

const Passes& passes(DType t) { return t == DType::bf16 ? PassesOf<bf16>::table : PassesOf<float>::table; }
