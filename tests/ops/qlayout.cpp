#include "ops/qlayout.h"

#include <limits>

#include "ops/layout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("codes lie pixel by pixel with a stride that is a multiple of four") {
  CHECK(min_pixel_stride(1) == 4);
  CHECK(min_pixel_stride(4) == 4);
  CHECK(min_pixel_stride(65) == 68);
  const Tensor t = empty_codes({2, 3, 4, 5});
  CHECK(t.dtype() == DType::u8);
  CHECK(t.shape() == Shape{2, 3, 4, 5});
  CHECK(t.strides() == Strides{80, 1, 20, 4});
  CHECK(is_pixel_strided(t.shape(), t.strides()));
  CHECK(empty_codes({2, 3, 4, 5}, 8).strides() == Strides{160, 1, 40, 8});
  CHECK_THROWS_AS(empty_codes({2, 3, 4}), ShapeError);
  CHECK_THROWS_AS(empty_codes({2, 5, 4, 5}, 4), ShapeError);
  CHECK_THROWS_AS(empty_codes({2, 3, 4, 5}, 6), ShapeError);
}

TEST_CASE("codes with gaps are read when contiguous() has taken them out, as the refusal says") {
  const Tensor codes = empty_codes({1, 3, 2, 2}).with_qparams({0.5f, 1}), copy = codes.clone();
  CHECK_THROWS_WITH(copy.data<uint8_t>(), Catch::Contains("has gaps; make it contiguous() first"));
  CHECK(contiguous(copy).data<uint8_t>().size() == 12);
}

TEST_CASE("other layouts are no pixel-strided codes") {
  CHECK_FALSE(is_pixel_strided({2, 3, 4}, {12, 4, 1}));
  CHECK_FALSE(is_pixel_strided({2, 4, 4, 4}, {64, 16, 4, 1}));   // planar
  CHECK_FALSE(is_pixel_strided({1, 3, 4, 4}, {48, 1, 12, 3}));   // no multiple of four
  CHECK_FALSE(is_pixel_strided({1, 8, 4, 4}, {64, 1, 16, 4}));   // smaller than the channels
  CHECK_FALSE(is_pixel_strided({2, 4, 4, 4}, {128, 1, 16, 4}));  // a gap between images
  const Tensor f = Tensor::empty({1, 4, 2, 2}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  CHECK_THROWS_AS(check_codes("op", "x", f.view()), DTypeError);
  CHECK_THROWS_AS(check_codes("op", "x", Tensor::empty({1, 4, 2, 2}, DType::u8).view()), ShapeError);
  CHECK_NOTHROW(check_codes("op", "x", empty_codes({1, 4, 2, 2}).view()));
}

TEST_CASE("code ranges and scales are checked") {
  CHECK_NOTHROW(check_code_range("op", 0, 0, 255));
  CHECK_THROWS_AS(check_code_range("op", -1, 0, 255), ValueError);
  CHECK_THROWS_AS(check_code_range("op", 256, 0, 255), ValueError);
  CHECK_THROWS_AS(check_code_range("op", 0, 10, 9), ValueError);
  CHECK_THROWS_AS(check_code_range("op", 0, 0, 256), ValueError);
  CHECK_THROWS_AS(check_scale("op", "scale", 0), ValueError);
  CHECK_THROWS_AS(check_scale("op", "scale", -1), ValueError);
  CHECK_THROWS_AS(check_scale("op", "scale", std::numeric_limits<float>::quiet_NaN()), ValueError);
  CHECK_THROWS_AS(check_scale("op", "scale", std::numeric_limits<float>::infinity()), ValueError);
}
