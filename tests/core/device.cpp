#include "core/device.h"

#include <fstream>
#include <string>

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
  CHECK_THROWS_AS(Device::parse("cpu:0"), ValueError);
  CHECK_THROWS_AS(Device::parse("cudax"), ValueError);
  CHECK_THROWS_AS(Device::parse("custom:"), ValueError);
  CHECK_THROWS_AS(Device::parse("custom:9999"), DeviceError);
  if (device_count(DeviceType::cuda) == 0) CHECK_THROWS_WITH(Device::parse("cuda"), Catch::Contains("device 'cuda': "));
}

TEST_CASE("the processor has the name that Linux gives it") {
  std::ifstream in("/proc/cpuinfo");
  std::string want = "unknown CPU";
  for (std::string line; want == "unknown CPU" && std::getline(in, line);)
    if (line.starts_with("model name")) want = line.substr(line.find(':') + 2);
  CHECK(cpu_name() == want);
}
