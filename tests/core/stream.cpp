#include "core/stream.h"

#include "core/backend.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("a stream guard restores the stream before it, of its device alone") {
  const auto marker = std::make_shared<int>(0), inner_marker = std::make_shared<int>(0);
  const Device d = Device::cuda(0);
  {
    const StreamGuard guard({d, marker});
    CHECK(current_stream(d).handle == marker);
    CHECK(current_stream(Device::cuda(1)).handle == nullptr);
    CHECK(current_stream(Device::cpu()).handle == nullptr);
    {
      const StreamGuard inner({d, inner_marker});
      CHECK(current_stream(d).handle == inner_marker);
    }
    CHECK(current_stream(d).handle == marker);
  }
  CHECK(current_stream(d).handle == nullptr);
}
