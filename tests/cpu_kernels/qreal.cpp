// Every kernel on real numbers against its definition.
#include "ops/qreal.h"

#include <algorithm>
#include <cmath>

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

// Codes or f32, and the number at each place.
struct RealCase {
  Codes codes;
  Array<float> numbers;
  QParams q;
  bool is_f32;

  RealCase(Rng& rng, const Shape& shape)
      : codes(Codes::random(rng, shape)),
        numbers(Array<float>::channels_last(shape)),
        q{uniform_real(rng, 0.001f, 2), int32_t(uniform(rng, 0, 255))},
        is_f32(chance(rng, 0.5)) {
    for (int64_t i = 0; i < numbers.size(); ++i) numbers[i] = uniform_real(rng, -3, 3);
  }
  CView view() const { return is_f32 ? numbers.view() : codes.view(); }
  float at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    const Shape& s = codes.shape();
    return is_f32 ? numbers[((n * s[2] + h) * s[3] + w) * s[1] + c]
                  : float(codes.at(n, c, h, w) - q.zero_point) * q.scale;
  }
};

Shape random_shape(Rng& rng) {
  return {uniform(rng, 0, 3), uniform(rng, 1, 30), uniform(rng, 1, 9), uniform(rng, 1, 9)};
}

// What a kernel must make: number(n, c, h, w) everywhere.
template <class Number>
Array<float> made_of(const Shape& shape, const Number& number) {
  Array<float> y = Array<float>::channels_last(shape);
  for (int64_t n = 0, i = 0; n < shape[0]; ++n)
    for (int64_t h = 0; h < shape[2]; ++h)
      for (int64_t w = 0; w < shape[3]; ++w)
        for (int64_t c = 0; c < shape[1]; ++c) y[i++] = number(n, c, h, w);
  return y;
}

}  // namespace

TEST_CASE("real_unary and real_add kernels compute number by number") {
  Rng rng(test_seed());
  for (int i = 0; i < 60; ++i) {
    const Shape shape = random_shape(rng);
    const RealCase a(rng, shape), b(rng, shape);
    const double value = double(uniform_real(rng, -2, 2));
    Array<float> y = Array<float>::channels_last(shape);
    for_each_kernel<op::RealUnary>(
        gives(op::RealUnary{a.view(), a.q, "exp", value, y.view()}, y,
              made_of(shape, [&](auto... at) { return float(std::exp(double(a.at(at...)))); })));
    for_each_kernel<op::RealUnary>(
        gives(op::RealUnary{a.view(), a.q, "add_scalar", value, y.view()}, y,
              made_of(shape, [&](auto... at) { return float(double(a.at(at...)) + value); })));
    for_each_kernel<op::RealAdd>(gives(op::RealAdd{a.view(), b.view(), a.q, b.q, y.view()}, y,
                                       made_of(shape, [&](auto... at) { return a.at(at...) + b.at(at...); })));
  }
}

TEST_CASE("real pooling kernels go over the pixels of each window") {
  Rng rng(test_seed());
  for (int i = 0; i < 60; ++i) {
    const Shape shape = random_shape(rng);
    const RealCase x(rng, shape);
    QPoolWindow win;
    win.kernel = {uniform(rng, 1, shape[2]), uniform(rng, 1, shape[3])};
    win.stride = {uniform(rng, 1, 3), uniform(rng, 1, 3)};
    win.padding = {uniform(rng, 0, win.kernel.h - 1), uniform(rng, 0, win.kernel.w - 1)};
    const bool include_pad = chance(rng, 0.5);
    const Shape pooled = pooled_shape("test", shape, win);
    const auto over_window = [&](int64_t n, int64_t c, int64_t oh, int64_t ow, const auto& use) {
      for (int64_t kh = 0; kh < win.kernel.h; ++kh)
        for (int64_t kw = 0; kw < win.kernel.w; ++kw) {
          const int64_t h = oh * win.stride.h - win.padding.h + kh, w = ow * win.stride.w - win.padding.w + kw;
          if (h >= 0 && h < shape[2] && w >= 0 && w < shape[3]) use(x.at(n, c, h, w));
        }
    };
    const auto maximum = made_of(pooled, [&](auto... at) {
      float top = -INFINITY;
      over_window(at..., [&](float v) { top = std::max(top, v); });
      return top;
    });
    const auto mean = made_of(pooled, [&](auto... at) {
      double sum = 0;
      int64_t pixels = 0;
      over_window(at..., [&](float v) { sum += double(v), ++pixels; });
      return float(sum / double(include_pad ? win.kernel.h * win.kernel.w : pixels));
    });
    Array<float> y = Array<float>::channels_last(pooled);
    for_each_kernel<op::RealMaxPool2d>(gives(op::RealMaxPool2d{x.view(), x.q, win, y.view()}, y, maximum));
    for_each_kernel<op::RealAvgPool2d>(gives(op::RealAvgPool2d{x.view(), x.q, win, include_pad, y.view()}, y, mean));
  }
}
