#include "ops/qreal.h"

#include <cmath>
#include <vector>

#include "ops/layout.h"
#include "ops/quantize.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

// In [N,C,H,W] order.
Tensor numbers(const std::vector<float>& v, const Shape& shape) { return Tensor::from(v, shape); }

// Codes and what they stand for.
Tensor codes(const Shape& shape) { return quantize(RandomTensors(1).tensor(shape), {0.03125f, 100}); }

}  // namespace

TEST_CASE("NaN wins in a pool of real numbers") {
  const float nan = std::nanf("");
  const Tensor y = real_max_pool2d(numbers({1, nan, 2, 3, nan, nan}, {1, 1, 1, 6}), {{1, 2}, {1, 2}, 0});
  CHECK(y.shape() == Shape{1, 1, 1, 3});
  const std::vector<double> got = y.to_vector();
  CHECK(std::isnan(got[0]));
  CHECK(got[1] == 3);
  CHECK(std::isnan(got[2]));
}

TEST_CASE("padding never wins a maximum, and counts in a mean if it is told to") {
  const Tensor x = numbers({-1, -2, -3, -4}, {1, 1, 2, 2});
  const QPoolWindow window{3, 2, 1};
  CHECK(real_max_pool2d(x, window).to_vector() == std::vector<double>{-1});
  CHECK(real_avg_pool2d(x, {window, false}).to_vector() == std::vector<double>{-2.5});
  CHECK(real_avg_pool2d(x, {window, true}).to_vector() == std::vector<double>{double(-10.0f / 9)});
}

TEST_CASE("codes are the numbers that they stand for, in any op on real numbers") {
  const Tensor x = codes({2, 5, 4, 3}), real = dequantize(x);
  const QPoolWindow window{2, 1, 0};
  const auto equal = [](const Tensor& a, const Tensor& b) {
    CHECK(a.dtype() == DType::f32);
    CHECK(a.is_channels_last());
    CHECK(a.to_vector() == b.to_vector());
  };
  equal(real_unary(x, "exp"), real_unary(real, "exp"));
  equal(real_unary(x, "add_scalar", 2), real_unary(real, "add_scalar", 2));
  equal(real_add(x, real), real_add(real, x));
  equal(real_add(x, x), real_add(real, real));
  equal(real_max_pool2d(x, window), real_max_pool2d(real, window));
  equal(real_avg_pool2d(x, {window, true}), real_avg_pool2d(real, {window, true}));
  // Of f32 in any layout.
  equal(real_unary(contiguous(real), "tanh"), real_unary(real, "tanh"));
}

TEST_CASE("every functor of one operand has its op on real numbers, in double") {
  const Tensor x = RandomTensors(2).tensor({2, 3, 2, 2});
  const auto check = [&]<class F>() {
    INFO(F::op);
    const OpDef* const op = opdef::real_unary(F::op);
    REQUIRE(op);
    CHECK(std::string(op->name) == std::string("real_") + F::op);
    const Attrs attrs = to_attrs(RealUnaryOptions{0.25});
    const auto got = op->call(std::span(&x, 1), attrs).to_vector();
    const auto in = x.to_vector();
    for (size_t i = 0; i < got.size(); ++i) {
      const double exact = double(float(real_function(F::op)(in[i], 0.25)));
      CHECK((got[i] == exact || (std::isnan(got[i]) && std::isnan(exact))));
    }
    CHECK(op->infer(std::vector<TensorInfo>{{x.shape(), DType::f32}}, attrs) == TensorInfo{x.shape(), DType::f32});
  };
  op::for_each_functor(op::UnaryOps(), check);
  op::for_each_functor(op::ScalarOps(), check);
  CHECK_FALSE(opdef::real_unary("add"));
  CHECK_FALSE(real_function("nothing"));
}

TEST_CASE("ops on real numbers refuse other operands") {
  const Tensor x = codes({1, 4, 3, 3}), bytes = Tensor::zeros({1, 4, 3, 3}, DType::u8), flat = Tensor::zeros({2, 3});
  CHECK_THROWS_AS(real_add(x, bytes), DTypeError);
  CHECK_THROWS_AS(real_add(x, codes({1, 4, 3, 2})), ShapeError);
  CHECK_THROWS_AS(real_unary(flat, "exp"), ShapeError);
  CHECK_THROWS_AS(real_unary(x.to(Device::cpu()).as_strided({4, 1, 3, 3}, {1, 1, 12, 4}), "exp"), ShapeError);
  CHECK_THROWS_AS(real_max_pool2d(x, {4, 1, 0}), ShapeError);
  CHECK_THROWS_AS(real_max_pool2d(x, {2, 0, 0}), ValueError);
  CHECK_THROWS_AS(real_avg_pool2d(Tensor(), {}), ValueError);
  CHECK_THROWS_AS(real_unary(x, "add"), ValueError);
}

TEST_CASE("one pixel's stride means nothing") {
  const Tensor vectors = numbers({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(real_unary(reshape(vectors, {2, 3, 1, 1}), "neg").to_vector() == std::vector<double>{-1, -2, -3, -4, -5, -6});
}
