#include "quant/grid/affine.h"

#include <cmath>

#include "ops/quantize.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;

TEST_CASE("the u8 grid covers its range and represents zero exactly") {
  Generator g(test_seed());
  for (int i = 0; i < 1000; ++i) {
    double lo = g.normal() * std::pow(10, g.below(5)), hi = g.normal() * std::pow(10, g.below(5));
    if (lo > hi) std::swap(lo, hi);
    INFO("seed " << test_seed() << ", range " << lo << " " << hi);
    const QParams q = affine_u8(lo, hi);
    CHECK((q.zero_point >= 0 && q.zero_point <= 255));
    // Each end is within half a step of a code.
    const double s = double(q.scale);
    CHECK(s * (0 - q.zero_point) <= std::min(lo, 0.0) + 0.501 * s);
    CHECK(s * (255 - q.zero_point) >= std::max(hi, 0.0) - 0.501 * s);
  }
  CHECK(affine_u8(0, 6).zero_point == 0);
  CHECK(affine_u8(3, 6) == affine_u8(0, 6));
  CHECK(affine_u8(-6, -1).zero_point == 255);
}

TEST_CASE("ranges without extent or sense") {
  CHECK(affine_u8(0, 0) == QParams{1.0f, 0});
  CHECK_THROWS_AS(affine_u8(0, INFINITY), ValueError);
  CHECK_THROWS_AS(affine_u8(NAN, 1), ValueError);
}

TEST_CASE("the u8 grid is as good for tiny and for huge numbers, as long as its step is a normal float") {
  for (const double unit : {1e-35, 1e-20, 1e-14, 1.0, 1e20, 1e38}) {
    INFO(unit);
    const QParams q = affine_u8(-unit, 3 * unit);
    CHECK(double(q.scale) == Approx(4 * unit / 255));
    CHECK(q.zero_point == 64);
  }
  for (const auto& [lo, hi] : {std::pair{0.0, 1e-38}, {-1e-45, 0.0}, {-1e45, 1e45}, {-1e308, 1e308}})
    CHECK_THROWS_AS(affine_u8(lo, hi), ValueError);
}

TEST_CASE("quantize and dequantize err by half a step at most") {
  Layers l(test_seed());
  INFO("seed " << test_seed());
  const Tensor x = l.uniform("", {2, 5, 3, 4}, -2, 3);
  const QParams q = affine_u8(-2, 3);
  const Tensor back = dequantize(quantize(x, q));
  CHECK(back.shape() == x.shape());
  CHECK(max_difference(back, x) <= 0.5001 * double(q.scale));
}

TEST_CASE("signal to noise in decibel") {
  SignalToNoise s;
  CHECK(std::isinf(s.decibel()));
  s.add(10, 10);
  CHECK(std::isinf(s.decibel()));
  s.add(0, 1);
  CHECK(s.decibel() == Approx(20));
}
