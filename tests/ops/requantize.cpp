#include "ops/requantize.h"

#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

Tensor codes(std::vector<float> numbers, const Shape& shape, const QParams& q) {
  return quantize(Tensor::from(numbers, shape), q);
}

}  // namespace

TEST_CASE("requantize keeps the numbers, as near as the other grid has them") {
  const Tensor x = codes({-4, 0, 0.75f, 30}, {1, 2, 1, 2}, {0.25f, 20});
  CHECK(requantize(x, {0.25f, 20}).to_vector() == x.to_vector());
  const Tensor y = requantize(x, {0.5f, 4});
  CHECK(y.qparams() == QParams{0.5f, 4});
  CHECK(dequantize(y).to_vector() == std::vector<double>{-2, 0, 1, 30});  // the first is clamped, 0.75 a tie
  CHECK_THROWS_AS(requantize(x, {0, 4}), ValueError);
  CHECK_THROWS_AS(requantize(Tensor::zeros({1, 2, 1, 2}), {1, 4}), DTypeError);
}

TEST_CASE("qcat joins maps of different grids along their channels") {
  const Tensor a = codes({1, 2, 3, 4, 5, 6}, {1, 3, 1, 2}, {0.5f, 0}), b = codes({-1, -2}, {1, 1, 1, 2}, {1, 30});
  const QParams q{0.25f, 40};
  const Tensor y = qcat({a, b, a}, q);
  CHECK(y.shape() == Shape{1, 7, 1, 2});
  CHECK(dequantize(y).to_vector() == std::vector<double>{1, 2, 3, 4, 5, 6, -1, -2, 1, 2, 3, 4, 5, 6});
  CHECK(is_pixel_strided(y.shape(), y.strides()));
  CHECK(qcat({b}, {1, 30}).to_vector() == b.to_vector());
  CHECK_THROWS_AS(qcat({}, q), ShapeError);
  CHECK_THROWS_AS(qcat({a, codes({1}, {1, 1, 1, 1}, q)}, q), ShapeError);
  CHECK_THROWS_AS(qcat({a, Tensor::zeros({1, 1, 1, 2})}, q), DTypeError);
}
