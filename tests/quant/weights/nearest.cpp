#include "quant/weights/nearest.h"

#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;

TEST_CASE("nearest rounds half to even and stays within the codes") {
  const std::vector<double> w{0.5, 1.5, -2.5, 300, -3, -1e9}, scale{1, 2};
  CHECK(nearest({"", w, {2, 3}, scale}).to_vector() == std::vector<double>{0, 2, -2, 127, -2, -127});
  CHECK(nearest({"", {}, {0, 3}, {}}).numel() == 0);
}
