#include "ops/qmul.h"

#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("codes times codes are the product of what they stand for, a pixel for each map is a gate") {
  const QParams half{0.5f, 10}, tenth{0.125f, 3};
  const Tensor a = quantize(Tensor::from(std::vector<float>{-2, 1, 3, 5}, {1, 1, 2, 2}), half);
  const Tensor b = quantize(Tensor::from(std::vector<float>{1, 2, -0.25f, 0}, {1, 1, 2, 2}), tenth);
  const Tensor y = qmul(a, b, {.y = {0.25f, 100}});
  CHECK(dequantize(y).to_vector() == std::vector<double>{-2, 2, -0.75, 0});
  const Tensor gate = quantize(Tensor::full({1, 1, 1, 1}, 0.5), tenth);
  CHECK(dequantize(qmul(a, gate, {.y = {0.25f, 100}})).to_vector() == std::vector<double>{-1, 0.5, 1.5, 2.5});
  CHECK(dequantize(qmul(a, gate, {.y = {0.25f, 100}, .lo = 100})).to_vector() == std::vector<double>{0, 0.5, 1.5, 2.5});
  CHECK_THROWS_AS(qmul(a, quantize(Tensor::zeros({1, 1, 2, 1}), half), {}), ShapeError);
  CHECK_THROWS_AS(qmul(a, Tensor::zeros({1, 1, 2, 2}), {}), DTypeError);
  CHECK_THROWS_AS(qmul(a, b, {.y = {0, 3}}), ValueError);
  CHECK_THROWS_AS(qmul(a, b, {.y = {}, .lo = 3, .hi = 2}), ValueError);
}

TEST_CASE("check_qmul refuses what its comment does not allow") {
  const Tensor a = empty_codes({1, 4, 2, 2}), other = empty_codes({1, 4, 2, 3});
  Tensor y = empty_codes({1, 4, 2, 2});
  const op::QMul good{a.view(), a.view(), 0, 255, 0.5f, y.mutable_view(), 3, 3, 255};
  const auto refuses = [&](const auto& spoil) {
    op::QMul m = good;
    spoil(m);
    CHECK_THROWS_AS(check_qmul(m), Error);
  };
  CHECK_NOTHROW(check_qmul(good));
  refuses([&](op::QMul& m) { m.b = other.view(); });
  refuses([&](op::QMul& m) { m.b.strides = {4, 2, 0, 0}; });
  refuses([&](op::QMul& m) { m.b.dtype = DType::i8; });
  refuses([&](op::QMul& m) { m.a_zero = 256; });
  refuses([&](op::QMul& m) { m.b_zero = -1; });
  refuses([&](op::QMul& m) { m.scale = 0; });
  refuses([&](op::QMul& m) { m.hi = 2; });
}
