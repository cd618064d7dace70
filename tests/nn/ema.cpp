#include "nn/ema.h"

#include "core/error.h"
#include "nn/init.h"
#include "nn/scope.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("Ema follows the values and swaps with them") {
  nn::ParamStore params(Device::cpu(), 0, DType::f64);
  Tensor w = params.root().parameter("w", {2}, nn::init::constant(1));
  Tensor n = params.root().counter("n");
  nn::Ema ema(params.all(), 0.75);
  w.fill(5);
  n.fill(7);
  ema.update();
  CHECK(ema.averages()[0].to_vector() == std::vector<double>{2, 2});  // 0.75 * 1 + 0.25 * 5
  CHECK(ema.averages()[1].item() == 7);
  CHECK(!ema.averages()[0].requires_grad());
  w.fill(6);
  ema.update();
  CHECK(ema.averages()[0].to_vector() == std::vector<double>{3, 3});

  ema.swap();
  CHECK(w.to_vector() == std::vector<double>{3, 3});
  CHECK(w.requires_grad());
  ema.swap();
  CHECK(w.to_vector() == std::vector<double>{6, 6});
  CHECK(ema.averages()[0].to_vector() == std::vector<double>{3, 3});
  CHECK_THROWS_AS(nn::Ema({}, 1), ValueError);
}
