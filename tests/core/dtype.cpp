#include "core/dtype.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("bf16 rounds to nearest, ties to even") {
  CHECK(bf16(1.0f).bits == 0x3f80);
  CHECK(bf16(-2.5f).bits == 0xc020);
  CHECK(bf16(std::bit_cast<float>(0x3f808000u)).bits == 0x3f80);  // a tie below an even number
  CHECK(bf16(std::bit_cast<float>(0x3f818000u)).bits == 0x3f82);  // a tie below an odd one
  CHECK(bf16(std::bit_cast<float>(0x3f808001u)).bits == 0x3f81);
  CHECK(std::isinf(float(bf16(std::numeric_limits<float>::max()))));
  CHECK(std::isnan(float(bf16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isnan(float(bf16(std::bit_cast<float>(0x7f800001u)))));  // a payload in the dropped bits only
}

TEST_CASE("every bf16 number survives the way through float") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bf16 b;
    b.bits = uint16_t(bits);
    const float f = float(b);
    if (f == f) REQUIRE(bf16(f) == b);
  }
}

TEST_CASE("dtype sizes match their C++ types") {
  CHECK(size_of(dtype_of<float>) == sizeof(float));
  CHECK(size_of(dtype_of<double>) == sizeof(double));
  CHECK(size_of(dtype_of<bf16>) == sizeof(bf16));
  CHECK(size_of(dtype_of<int8_t>) == 1);
  CHECK(size_of(dtype_of<uint8_t>) == 1);
  CHECK(size_of(dtype_of<int32_t>) == 4);
  CHECK(size_of(dtype_of<int64_t>) == 8);
  CHECK(name(DType::bf16) == "bf16");
}
