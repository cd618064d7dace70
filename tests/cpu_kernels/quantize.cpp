// Every kernel into and out of codes against the definitions in ops/quantize.h: equal bytes.
#include "ops/quantize.h"

#include <cmath>
#include <limits>

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

Shape random_shape(Rng& rng) {
  return {uniform(rng, 0, 3), uniform(rng, 1, 40), uniform(rng, 1, 9), uniform(rng, 1, 9)};
}

// The element of a logical index in an array made by Array(shape) or Array::channels_last(shape).
int64_t at(const CView& v, int64_t n, int64_t c, int64_t h, int64_t w) {
  return n * v.strides[0] + c * v.strides[1] + h * v.strides[2] + w * v.strides[3];
}

template <class Body>
void for_each(const Shape& s, const Body& body) {
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < s[1]; ++c)
      for (int64_t h = 0; h < s[2]; ++h)
        for (int64_t w = 0; w < s[3]; ++w) body(n, c, h, w);
}

}  // namespace

TEST_CASE("quantize kernels equal the definition, planar and channels-last") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  const float inf = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 200; ++i) {
    const Shape shape = random_shape(rng);
    Array<float> x = chance(rng, 0.5) ? Array<float>(shape) : Array<float>::channels_last(shape);
    const QParams q{chance(rng, 0.3) ? 0.25f : uniform_real(rng, 0.001f, 0.1f), int32_t(uniform(rng, 0, 255))};
    for (int64_t j = 0; j < x.size(); ++j) {
      const float code = uniform_real(rng, -20.0f, 280.0f) - float(q.zero_point);
      x[j] = chance(rng, 0.2) ? (std::floor(code) + 0.5f) * q.scale : code * q.scale;  // ties
    }
    if (x.size() > 8) {
      const float special[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(), 3e38f, -3e38f, -0.0f};
      for (int64_t j = 0; j < 6; ++j) x[uniform(rng, 0, x.size() - 1)] = special[j];
    }
    Codes y = Codes::output(rng, shape), want = y;
    const op::Quantize a{std::as_const(x).view(), q, y.view()};
    check_quantize(a);
    for_each(shape, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
      const float v = x[at(a.x, n, c, h, w)];
      want.at(n, c, h, w) = std::isnan(v) ? 0 : expected_code(v / q.scale, q.zero_point, 0, 255);
    });
    for_each_kernel<op::Quantize>(gives(a, y, want));
  }
}

TEST_CASE("qpack moves an image into pixels and clears the bytes behind their channels") {
  Rng rng(2);
  for (int i = 0; i < 50; ++i) {
    const Shape shape = i == 0 ? Shape{2, 3, 32, 32}
                        : i % 2 == 0
                            ? Shape{uniform(rng, 0, 3), uniform(rng, 1, 4), uniform(rng, 1, 5), uniform(rng, 1, 50)}
                            : random_shape(rng);
    Array<uint8_t> x(shape);
    for (int64_t j = 0; j < x.size(); ++j) x[j] = uint8_t(uniform(rng, 0, 255));
    Codes y = Codes::output(rng, shape), want = y;
    const op::QPack a{std::as_const(x).view(), y.view()};
    check_qpack(a);
    const int64_t pixel = a.y.strides[3];
    for_each(shape, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
      if (c == 0)
        for (int64_t j = 0; j < pixel; ++j) want.at(n, j, h, w) = 0;
      want.at(n, c, h, w) = x[at(a.x, n, c, h, w)];
    });
    for_each_kernel<op::QPack>(gives(a, y, want));
  }
}

TEST_CASE("dequantize kernels equal the definition") {
  Rng rng(3);
  for (int i = 0; i < 100; ++i) {
    const Shape shape = random_shape(rng);
    const Codes x = Codes::random(rng, shape);
    Array<float> y = chance(rng, 0.5) ? Array<float>(shape) : Array<float>::channels_last(shape);
    Array<float> want = y;
    const QParams q{uniform_real(rng, 0.001f, 0.1f), int32_t(uniform(rng, 0, 255))};
    const op::Dequantize a{x.view(), q, y.view()};
    check_dequantize(a);
    for_each(shape, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
      want[at(a.y, n, c, h, w)] = float(x.at(n, c, h, w) - q.zero_point) * q.scale;
    });
    for_each_kernel<op::Dequantize>(gives(a, y, want));
  }
}
