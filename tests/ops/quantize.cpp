#include "ops/quantize.h"

#include "ops/qlayout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("quantize, pack and dequantize check types, shapes, scale and zero point") {
  const Tensor reals = Tensor::zeros({1, 3, 2, 2}), image = Tensor::zeros({1, 3, 2, 2}, DType::u8);
  Tensor codes = empty_codes({1, 3, 2, 2}), other = empty_codes({1, 3, 2, 3}), out = Tensor::empty({1, 3, 2, 2});
  CHECK_NOTHROW(check_quantize({reals.view(), {0.1f, 3}, codes.mutable_view()}));
  CHECK_THROWS_AS(check_quantize({image.view(), {0.1f, 3}, codes.mutable_view()}), DTypeError);
  CHECK_THROWS_AS(check_quantize({reals.view(), {0.1f, 3}, other.mutable_view()}), ShapeError);
  CHECK_THROWS_AS(check_quantize({reals.view(), {0.0f, 3}, codes.mutable_view()}), ValueError);
  CHECK_THROWS_AS(check_quantize({reals.view(), {0.1f, 256}, codes.mutable_view()}), ValueError);
  CHECK_NOTHROW(check_qpack({image.view(), codes.mutable_view()}));
  CHECK_THROWS_AS(check_qpack({reals.view(), codes.mutable_view()}), DTypeError);
  CHECK_NOTHROW(check_dequantize({codes.view(), {0.1f, 3}, out.mutable_view()}));
  CHECK_THROWS_AS(check_dequantize({codes.view(), {0.1f, 3}, codes.mutable_view()}), DTypeError);
  CHECK_THROWS_AS(check_dequantize({image.view(), {0.1f, 3}, out.mutable_view()}), ShapeError);
}
