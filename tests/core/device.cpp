#include "core/device.h"

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("device names are parsed, and refused in one sentence") {
  CHECK(Device::parse("cpu") == Device::cpu());
  CHECK(Device::parse("auto") == Device::best());
  CHECK_THROWS_AS(Device::parse("gpu"), ValueError);
  CHECK_THROWS_AS(Device::parse("cuda:x"), ValueError);
  CHECK_THROWS_AS(Device::parse("cuda:-1"), ValueError);
  CHECK_THROWS_AS(Device::parse("cuda:9999"), DeviceError);
  if (device_count(DeviceType::cuda) == 0) CHECK_THROWS_AS(Device::parse("cuda"), DeviceError);
}

TEST_CASE("a stream guard restores the previous stream") {
  int marker = 0;
  const Device d = Device::cuda(0);
  {
    const StreamGuard guard({d, &marker});
    CHECK(current_stream(d).handle == &marker);
    CHECK(current_stream(Device::cuda(1)).handle == nullptr);
  }
  CHECK(current_stream(d).handle == nullptr);
}
