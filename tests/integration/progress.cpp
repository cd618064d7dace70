#include "examples/cifar_resnet/progress.h"

#include <sstream>

#include "tests/support/catch.h"

using cifar_resnet::Progress;

TEST_CASE("the speed of a pass that others have begun is that of its own images") {
  std::ostringstream out;
  Progress progress("epoch", 1000, 0, out, std::nullopt);
  progress.begin_at(990);
  progress.update(1000);
  const double before = progress.seconds(), speed = progress.images_per_second(), after = progress.seconds();
  CHECK(speed * before <= 10 * (1 + 1e-9));
  CHECK(speed * after >= 10 * (1 - 1e-9));
  progress.finish("done");
  CHECK(out.str().find("epoch  done") != std::string::npos);
}
