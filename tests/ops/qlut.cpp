#include "ops/qlut.h"

#include "ops/qlayout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("check_qlut wants a table of 256 codes and equal shapes") {
  const Tensor x = empty_codes({1, 4, 2, 2}), table = Tensor::zeros({256}, DType::u8);
  const Tensor short_table = Tensor::zeros({255}, DType::u8), float_table = Tensor::zeros({256});
  Tensor y = empty_codes({1, 4, 2, 2}, 8), other = empty_codes({1, 4, 2, 3});
  CHECK_NOTHROW(check_qlut({x.view(), table.view(), y.mutable_view()}));
  CHECK_THROWS_AS(check_qlut({x.view(), short_table.view(), y.mutable_view()}), ShapeError);
  CHECK_THROWS_AS(check_qlut({x.view(), float_table.view(), y.mutable_view()}), DTypeError);
  CHECK_THROWS_AS(check_qlut({x.view(), table.view(), other.mutable_view()}), ShapeError);
}
