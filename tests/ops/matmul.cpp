#include "ops/matmul.h"

#include "core/autograd.h"
#include "ops/create.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("matmul agrees with plain loops for any size, layout and dtype") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  for (int i = 0; i < 90; ++i) {
    const DType dtype = i % 3 == 0 ? DType::f64 : i % 3 == 1 ? DType::f32 : DType::bf16;
    const bool batched = random.chance(0.5);
    const int64_t b = batched ? random.between(0, 3) : 1, m = random.between(0, 20), n = random.between(0, 20),
                  k = random.between(0, 40);
    const Tensor x = random.tensor(batched ? Shape{b, m, k} : Shape{m, k}, dtype);
    const Tensor y = random.tensor(batched ? Shape{b, k, n} : Shape{k, n}, dtype);
    INFO(x.shape() << " x " << y.shape() << ' ' << name(dtype));
    const Tensor z = matmul(x, y);
    CHECK(z.shape() == (batched ? Shape{b, m, n} : Shape{m, n}));
    check_close(z.to_vector(), reference::matmul(b, m, n, k, x.to_vector(), y.to_vector()), dtype);
  }
}

TEST_CASE("linear multiplies by the transposed weight and adds the bias") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  for (int i = 0; i < 30; ++i) {
    const int64_t n = random.between(0, 20), o = random.between(1, 20), k = random.between(1, 40);
    const Tensor x = random.tensor({n, k}), w = random.tensor({o, k}), bias = random.tensor({o});
    const auto wt = transpose(w, 0, 1).to_vector();
    check_close(linear(x, w, {}).to_vector(), reference::matmul(1, n, o, k, x.to_vector(), wt), DType::f32);
    check_close(linear(x, w, bias).to_vector(), reference::matmul(1, n, o, k, x.to_vector(), wt, bias.to_vector()),
                DType::f32);
  }
}

TEST_CASE("the gradient of matmul fits operands that are views") {
  RandomTensors random(test_seed());
  Tensor a = random.tensor({4, 3}), b = random.tensor({4, 5});
  a.set_requires_grad(true);
  sum(matmul(transpose(a, 0, 1), b)).backward();
  const auto rows = sum(b, {1}).to_vector(), ga = a.grad().to_vector();
  for (size_t i = 0; i < ga.size(); ++i) CHECK(ga[i] == Approx(rows[i / 3]).margin(1e-5));
}

TEST_CASE("matmul and linear name what does not fit") {
  const auto t = [](const Shape& s, DType d = DType::f32) { return Tensor::zeros(s, d); };
  CHECK_THROWS_WITH(matmul(t({2, 3}), t({4, 5})), Contains("matmul") && Contains("[2,3]") && Contains("[4,5]"));
  CHECK_THROWS_AS(matmul(t({2, 3}), t({2, 3, 4})), ShapeError);
  CHECK_THROWS_AS(matmul(t({2, 3, 4}), t({3, 4, 5})), ShapeError);
  CHECK_THROWS_AS(matmul(t({3}), t({3})), ShapeError);
  CHECK_THROWS_AS(matmul(t({2, 3}), t({3, 4}, DType::f64)), DTypeError);
  CHECK_THROWS_AS(matmul(t({2, 3}, DType::i32), t({3, 4}, DType::i32)), DTypeError);
  CHECK_THROWS_WITH(linear(t({2, 3}), t({5, 4}), {}), Contains("linear") && Contains("[2,3]") && Contains("[5,4]"));
  CHECK_THROWS_AS(linear(t({2, 3}), t({5, 3}), t({3})), ShapeError);
  CHECK_THROWS_AS(linear(t({2, 3}), t({5, 3}), t({5}, DType::f64)), DTypeError);
}

TEST_CASE("matmul takes matrices of one row or column with any stride, and any batch, and the next call too") {
  Generator g(7);
  const Tensor base = rand({200}, g);
  const auto agrees = [](const Tensor& a, const Tensor& b) {
    INFO(a.shape() << a.strides() << " x " << b.shape() << b.strides());
    const auto y = matmul(a, b).to_vector(), wanted = matmul(contiguous(a), contiguous(b)).to_vector();
    REQUIRE(y.size() == wanted.size());
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == Approx(wanted[i]));
  };
  for (const Preference p : {Preference::automatic, Preference::vendor, Preference::own}) {
    const PreferenceGuard guard(p);
    for (const int64_t stride : {0, 1, 2, 3, 5, -1, -9}) {
      agrees(rand({4, 3}, g), base.as_strided({3, 1}, {1, stride}, 20));
      agrees(rand({4, 1}, g), base.as_strided({1, 3}, {stride, 1}, 20));
      agrees(base.as_strided({1, 3}, {1, stride}, 100), rand({3, 2}, g));
      agrees(base.as_strided({3, 1}, {stride, 1}, 100), rand({1, 2}, g));
      agrees(rand({4, 3}, g), rand({3, 1}, g));
      agrees(base.as_strided({3, 2, 2}, {stride, 2, 1}, 100), rand({3, 2, 2}, g));
    }
    agrees(expand(rand({1, 2, 4}, g), {3, 2, 4}), expand(rand({1, 4, 5}, g), {3, 4, 5}));
    agrees(expand(rand({1, 2, 4}, g), {3, 2, 4}), rand({3, 4, 5}, g));
  }
}
