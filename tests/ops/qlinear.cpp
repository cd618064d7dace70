#include "ops/qlinear.h"

#include <limits>

#include "core/tensor.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("check_qlinear refuses what its comment does not allow") {
  const Tensor x = Tensor::zeros({2, 512}, DType::i32), w = Tensor::full({3, 512}, 127, DType::i8);
  const Tensor bias = Tensor::zeros({3}, DType::i32), multiplier = Tensor::full({3}, 0.1);
  Tensor y = Tensor::empty({2, 3});
  const op::QLinear good{x.view(), 16 * 255, w.view(), bias.view(), multiplier.view(), y.mutable_view()};
  CHECK_NOTHROW(check_qlinear(good));

  SECTION("accumulators must stay within 32 bits") {
    op::QLinear q = good;
    q.x_max = std::numeric_limits<int32_t>::max() / (512 * 127);
    CHECK_NOTHROW(check_qlinear(q));
    ++q.x_max;
    CHECK_THROWS_AS(check_qlinear(q), ValueError);
    const Tensor large = Tensor::full({3}, -2147483648.0, DType::i32);
    q = good;
    q.bias = large.view();
    CHECK_THROWS_AS(check_qlinear(q), ValueError);
  }
  SECTION("shapes and types") {
    op::QLinear q = good;
    q.w = Tensor::zeros({3, 511}, DType::i8).view();
    CHECK_THROWS_AS(check_qlinear(q), ShapeError);
    q = good;
    q.x = Tensor::zeros({2, 512}).view();
    CHECK_THROWS_AS(check_qlinear(q), DTypeError);
    q = good;
    q.x.strides = {600, 1};  // gaps are for u8 only
    CHECK_THROWS_AS(check_qlinear(q), ShapeError);
    q.x.dtype = DType::u8;
    CHECK_NOTHROW(check_qlinear(q));
  }
  SECTION("multipliers must be finite") {
    const Tensor inf = Tensor::full({3}, std::numeric_limits<double>::infinity());
    op::QLinear q = good;
    q.multiplier = inf.view();
    CHECK_THROWS_AS(check_qlinear(q), ValueError);
  }
}
