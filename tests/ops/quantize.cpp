#include "ops/quantize.h"

#include <vector>

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

TEST_CASE("codes come and go as numbers, with what they stand for") {
  const QParams q{0.5f, 10};
  const Tensor x = Tensor::from(std::vector<float>{-9, -5, 0, 0.25f, 0.75f, 300}, {1, 2, 1, 3});
  const Tensor codes = quantize(x, q);
  CHECK(codes.qparams() == q);
  CHECK(is_pixel_strided(codes.shape(), codes.strides()));
  CHECK(codes.to_vector() == std::vector<double>{0, 0, 10, 10, 12, 255});  // half to even
  const Tensor back = dequantize(codes);
  CHECK(back.to_vector() == std::vector<double>{-5, -5, 0, 0, 1, 122.5});
  CHECK(back.is_channels_last());
  CHECK_FALSE(back.qparams());
  const Tensor bytes = qpack(Tensor::full({1, 3, 2, 2}, 200, DType::u8));
  CHECK(bytes.qparams() == QParams());
  CHECK(dequantize(bytes).to_vector() == std::vector<double>(12, 200));
}

TEST_CASE("ops on codes refuse other tensors in one sentence") {
  const Tensor x = Tensor::zeros({1, 3, 2, 2}), bytes = Tensor::zeros({1, 3, 2, 2}, DType::u8);
  CHECK_THROWS_WITH(dequantize(x), Catch::Contains("dequantize: x must be u8 codes") && Catch::Contains("f32"));
  CHECK_THROWS_WITH(dequantize(bytes), Catch::Contains("without qparams()"));
  CHECK_THROWS_AS(dequantize(bytes.with_qparams({})), ShapeError);  // planes, no pixels
  CHECK_THROWS_AS(dequantize(Tensor()), ValueError);
  CHECK_THROWS_AS(quantize(bytes, {}), DTypeError);
  CHECK_THROWS_AS(quantize(Tensor::zeros({2, 3}), {}), ShapeError);
  CHECK_THROWS_AS(quantize(x, {0, 3}), ValueError);
  CHECK_THROWS_AS(quantize(x, {1, 256}), ValueError);
  CHECK_THROWS_AS(qpack(x), DTypeError);
}

TEST_CASE("multipliers are rounded once") {
  const Tensor scales = Tensor::from(std::vector<float>{0.1f, 3, 1e-20f}, {3});
  const auto m = multipliers(0.7, scales, 0.3).to_vector();
  for (size_t i = 0; i < 3; ++i) CHECK(m[i] == double(float(0.7 * scales.to_vector()[i] / 0.3)));
}
