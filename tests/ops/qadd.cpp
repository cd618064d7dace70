#include "ops/qadd.h"

#include "ops/qlayout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("check_qadd refuses what its comment does not allow") {
  const Tensor a = empty_codes({1, 4, 2, 2}), b = empty_codes({1, 4, 2, 2}, 8), other = empty_codes({1, 4, 2, 3});
  Tensor y = empty_codes({1, 4, 2, 2});
  const op::QAdd good{a.view(), b.view(), 0, 255, 0.5f, 2.0f, y.mutable_view(), 3, 3, 255};
  CHECK_NOTHROW(check_qadd(good));
  op::QAdd q = good;
  q.b = other.view();
  CHECK_THROWS_AS(check_qadd(q), ShapeError);
  q = good;
  q.a = Tensor::empty({1, 4, 2, 2}).view();
  CHECK_THROWS_AS(check_qadd(q), DTypeError);
  q = good;
  q.a_zero = 256;
  CHECK_THROWS_AS(check_qadd(q), ValueError);
  q = good;
  q.b_scale = 0;
  CHECK_THROWS_AS(check_qadd(q), ValueError);
  q = good;
  q.lo = 200;
  q.hi = 100;
  CHECK_THROWS_AS(check_qadd(q), ValueError);
}
