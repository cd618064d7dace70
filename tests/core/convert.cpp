#include "core/convert.h"

#include "tests/support/catch.h"

using namespace mininn;

namespace {
template <class T>
using Limits = std::numeric_limits<T>;
}  // namespace

TEST_CASE("numbers saturate at the bounds of an integer type, lose their fraction, and NaN is 0") {
  const double inf = Limits<double>::infinity();
  CHECK(convert<uint8_t>(300.0) == 255);
  CHECK(convert<uint8_t>(-1.0f) == 0);
  CHECK(convert<int8_t>(-128.9) == -128);
  CHECK(convert<int8_t>(inf) == 127);
  CHECK(convert<int32_t>(-inf) == Limits<int32_t>::min());
  CHECK(convert<int32_t>(2147483648.0f) == Limits<int32_t>::max());
  CHECK(convert<int32_t>(2147483520.0f) == 2147483520);
  CHECK(convert<int64_t>(0x1p63) == Limits<int64_t>::max());
  CHECK(convert<int64_t>(-0x1p63) == Limits<int64_t>::min());
  CHECK(convert<int64_t>(Limits<float>::quiet_NaN()) == 0);
  CHECK(convert<uint8_t>(bf16(1e30f)) == 255);
  CHECK(convert<int32_t>(-2.9) == -2);
}

TEST_CASE("integers saturate in smaller types") {
  CHECK(convert<uint8_t>(int64_t{-1}) == 0);
  CHECK(convert<uint8_t>(int8_t{-1}) == 0);
  CHECK(convert<int8_t>(uint8_t{200}) == 127);
  CHECK(convert<int32_t>(Limits<int64_t>::min()) == Limits<int32_t>::min());
  CHECK(convert<int64_t>(uint8_t{200}) == 200);
}

TEST_CASE("bf16 is reached by way of f32") {
  CHECK(float(convert<bf16>(1 + 0x1p-8 + 0x1p-40)) == 1);
  CHECK(convert<double>(bf16(0.5f)) == 0.5);
  CHECK(float(convert<bf16>(int64_t{3})) == 3);
}
