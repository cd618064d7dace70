// The loops of pool2d.cpp over the channels of one output pixel. Included inside a target region, once per instruction
// set. Pointers are to channel 0 of the image `x` or `gx`, and of the output pixel. T: of the elements, float or bf16;
// gradients of an image are added up in float.

template <class T>
struct MaxForward {
  const Window& win;
  int64_t c, iw;
  const T* x;
  T* y;
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

template <class T>
struct MaxBackward {
  const Window& win;
  int64_t c, iw;
  const T* gy;
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

template <class T>
struct AvgForward {  // of up to kChain pixels
  const Window& win;
  int64_t c, iw;
  float divisor;
  const T* x;
  T* y;

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

template <class T>
struct AvgForwardLarge : AvgForward<T> {
  using AvgForward<T>::win, AvgForward<T>::divisor, AvgForward<T>::y;

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
        this->template add_up<V, K>(part, i, sum);
        for (int k = 0; k < K; ++k) add(total[k], sum[k]);
      }
    }
    for (int k = 0; k < K; ++k) store(y + i + k * lanes, narrow(total[k] / double(divisor)));
  }
};

template <class T>
struct AvgBackward {
  const Window& win;
  int64_t c, iw;
  float divisor;
  const T* gy;
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

// Rounds the gradients of an image, where it is stored in another type.
struct Round {
  const float* from;
  bf16* to;

  template <class V, class, int K>
  void strip(int64_t i) const {
    constexpr int64_t lanes = sizeof(V) / sizeof(float);
    for (int k = 0; k < K; ++k, i += lanes) store(to + i, load<V>(from + i));
  }
};

template <class T>
constexpr Pixel<T> pixel() {
  return {[](const Window& win, int64_t c, int64_t iw, const T* x, T* y, int32_t* index) {
            for_strips(c, MaxForward<T>{win, c, iw, x, y, index});
          },
          [](const Window& win, int64_t c, int64_t iw, const T* gy, const int32_t* index, float* gx) {
            for_strips(c, MaxBackward<T>{win, c, iw, gy, index, gx});
          },
          [](const Window& win, int64_t c, int64_t iw, float divisor, const T* x, T* y) {
            if (win.pixels() <= kChain)
              for_strips(c, AvgForward<T>{win, c, iw, divisor, x, y});
            else
              for_strips(c, AvgForwardLarge<T>{{win, c, iw, divisor, x, y}});
          },
          [](const Window& win, int64_t c, int64_t iw, float divisor, const T* gy, float* gx) {
            for_strips(c, AvgBackward<T>{win, c, iw, divisor, gy, gx});
          }};
}

constexpr Pixels kPixels{pixel<float>(), pixel<bf16>(), [](const float* from, int64_t n, bf16* to) {
                           for_strips(n, Round{from, to});
                         }};
