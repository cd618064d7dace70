#include "nn/pool.h"

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("pooling modules") {
  const Tensor x = Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 1, 3, 3});
  CHECK(nn::MaxPool2d({.kernel = 2, .stride = 1})(x).to_vector() == std::vector<double>{5, 6, 8, 9});
  CHECK(nn::MaxPool2d({.kernel = 2})(x).shape() == Shape{1, 1, 1, 1});
  // The corner's window holds three padding zeros and a 1.
  CHECK(nn::AvgPool2d({.kernel = 2, .stride = 2, .padding = 1})(x).to_vector() ==
        std::vector<double>{0.25, 1.25, 2.75, 7});
  CHECK(nn::GlobalAvgPool2d()(x).to_vector() == std::vector<double>{5});
  CHECK(nn::GlobalAvgPool2d()(x).shape() == Shape{1, 1, 1, 1});
  CHECK(nn::Flatten()(x).shape() == Shape{1, 9});
  CHECK(nn::Flatten(2)(x).shape() == Shape{1, 1, 9});
}

TEST_CASE("pooling modules refuse impossible windows when they are made") {
  for (const Pool2dOptions& o : {Pool2dOptions{.kernel = 0},
                                 {.kernel = {2, -1}},
                                 {.stride = -1},
                                 {.padding = -1},
                                 {.kernel = 3, .padding = 2}}) {
    CHECK_THROWS_AS(nn::MaxPool2d(o), ValueError);
    CHECK_THROWS_AS(nn::AvgPool2d(o), ValueError);
  }
}
