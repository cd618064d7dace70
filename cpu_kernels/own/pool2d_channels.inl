// The loops of pool2d.cpp over the channels of one output pixel. Included inside a target region, once per instruction
// set. Pointers are to channel 0 of the image `x` or `gx`, and of the output pixel.

struct MaxForward {
  const Window& win;
  int64_t c, iw;
  const float* x;
  float* y;
  int32_t* index;  // may be null

  template <class V, class I, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    const int64_t first = win.h0 * iw + win.w0;
    V best[K];
    I where[K];
    for (int k = 0; k < K; ++k) {
      best[k] = load<V>(x + first * c + i + k * lanes);
      where[k] = I{} + int32_t(first);
    }
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t p = h * iw + win.w0; p < h * iw + win.w1; ++p)
        for (int k = 0; k < K; ++k) {
          const V v = load<V>(x + p * c + i + k * lanes);
          const auto better = (v > best[k]) | ((v != v) & (best[k] == best[k]));  // the first NaN beats every number
          best[k] = better ? v : best[k];
          where[k] = better ? I{} + int32_t(p) : where[k];
        }
    for (int k = 0; k < K; ++k) {
      store(y + i + k * lanes, best[k]);
      if (index) store(index + i + k * lanes, where[k]);
    }
  }
};

struct MaxBackward {
  const Window& win;
  int64_t c, iw;
  const float* gy;
  const int32_t* index;
  float* gx;

  template <class V, class I, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    for (int k = 0; k < K; ++k, i += lanes) {
      const V g = load<V>(gy + i);
      const I where = load<I>(index + i);
      for (int64_t h = win.h0; h < win.h1; ++h)
        for (int64_t p = h * iw + win.w0; p < h * iw + win.w1; ++p) {
          float* out = gx + p * c + i;
          store(out, load<V>(out) + ((where == I{} + int32_t(p)) ? g : V{}));
        }
    }
  }
};

template <bool kAdd>  // to what y holds
struct AvgForward {
  const Window& win;
  int64_t c, iw;
  float divisor;
  const float* x;
  float* y;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    V sum[K] = {};
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t p = h * iw + win.w0; p < h * iw + win.w1; ++p)
        for (int k = 0; k < K; ++k) sum[k] += load<V>(x + p * c + i + k * lanes);
    for (int k = 0; k < K; ++k) {
      float* out = y + i + k * lanes;
      store(out, (kAdd ? load<V>(out) + sum[k] : sum[k]) / divisor);
    }
  }
};

struct AvgBackward {
  const Window& win;
  int64_t c, iw;
  float divisor;
  const float* gy;
  float* gx;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    V share[K];
    for (int k = 0; k < K; ++k) share[k] = load<V>(gy + i + k * lanes) / divisor;
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t p = h * iw + win.w0; p < h * iw + win.w1; ++p)
        for (int k = 0; k < K; ++k) {
          float* out = gx + p * c + i + k * lanes;
          store(out, load<V>(out) + share[k]);
        }
  }
};

void max_fwd(const Window& win, int64_t c, int64_t iw, const float* x, float* y, int32_t* index) {
  for_strips(c, MaxForward{win, c, iw, x, y, index});
}
void max_bwd(const Window& win, int64_t c, int64_t iw, const float* gy, const int32_t* index, float* gx) {
  for_strips(c, MaxBackward{win, c, iw, gy, index, gx});
}
void avg_fwd(const Window& win, int64_t c, int64_t iw, float divisor, const float* x, float* y) {
  for_strips(c, AvgForward<false>{win, c, iw, divisor, x, y});
}
void avg_add(const Window& win, int64_t c, int64_t iw, float divisor, const float* x, float* y) {
  for_strips(c, AvgForward<true>{win, c, iw, divisor, x, y});
}
void avg_bwd(const Window& win, int64_t c, int64_t iw, float divisor, const float* gy, float* gx) {
  for_strips(c, AvgBackward{win, c, iw, divisor, gy, gx});
}

constexpr Pixel kPixel{max_fwd, max_bwd, avg_fwd, avg_add, avg_bwd};
