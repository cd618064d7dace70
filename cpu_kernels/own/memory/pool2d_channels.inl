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

struct AvgForward {  // of up to kChain pixels
  const Window& win;
  int64_t c, iw;
  float divisor;
  const float* x;
  float* y;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    V sum[K] = {};
    add_up<V, K>(win, i, sum);
    for (int k = 0; k < K; ++k) store(y + i + k * lanes, sum[k] / divisor);
  }

  // Adds a part of the window to `sum`.
  template <class V, int K>
  void add_up(const Window& part, int64_t i, V (&sum)[K]) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    for (int64_t h = part.h0; h < part.h1; ++h)
      for (int64_t p = h * iw + part.w0; p < h * iw + part.w1; ++p)
        for (int k = 0; k < K; ++k) sum[k] += load<V>(x + p * c + i + k * lanes);
  }
};

struct AvgForwardLarge : AvgForward {
  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    const int64_t width = win.w1 - win.w0, columns = width < kChain ? width : kChain, rows = kChain / columns;
    Wide<V> total[K] = {};
    Window part = win;
    for (part.h0 = win.h0; part.h0 < win.h1; part.h0 = part.h1) {
      part.h1 = part.h0 + rows < win.h1 ? part.h0 + rows : win.h1;
      for (part.w0 = win.w0; part.w0 < win.w1; part.w0 = part.w1) {
        part.w1 = part.w0 + columns < win.w1 ? part.w0 + columns : win.w1;
        V sum[K] = {};
        add_up<V, K>(part, i, sum);
        for (int k = 0; k < K; ++k) add(total[k], sum[k]);
      }
    }
    for (int k = 0; k < K; ++k) store(y + i + k * lanes, narrow(total[k] / double(divisor)));
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
  if (win.pixels() <= kChain)
    for_strips(c, AvgForward{win, c, iw, divisor, x, y});
  else
    for_strips(c, AvgForwardLarge{{win, c, iw, divisor, x, y}});
}
void avg_bwd(const Window& win, int64_t c, int64_t iw, float divisor, const float* gy, float* gx) {
  for_strips(c, AvgBackward{win, c, iw, divisor, gy, gx});
}

constexpr Pixel kPixel{max_fwd, max_bwd, avg_fwd, avg_bwd};
