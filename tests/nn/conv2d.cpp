#include "nn/conv2d.h"

#include <cmath>

#include "core/error.h"
#include "nn/init.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("nn::Conv2d is conv2d with its own parameters") {
  nn::ParamStore params(Device::cpu(), 1, DType::f64);
  nn::Conv2d layer(params.root() / "c",
                   {.in = 4, .out = 6, .kernel = {3, 2}, .stride = 2, .padding = {1, 0}, .groups = 2});
  CHECK(layer.weight().shape() == Shape{6, 2, 3, 2});
  CHECK(layer.bias().shape() == Shape{6});
  // PyTorch's default: both within 1 / sqrt(fan_in), fan_in = 2 * 3 * 2.
  for (const double w : layer.weight().to_vector()) CHECK(std::abs(w) <= 1 / std::sqrt(12.0));
  for (const double b : layer.bias().to_vector()) CHECK(std::abs(b) <= 1 / std::sqrt(12.0));

  Tensor x = Tensor::zeros({2, 4, 5, 5}, DType::f64);
  Generator g(3);
  for (double& v : x.mutable_data<double>()) v = g.normal();
  const Tensor y = layer(x);
  CHECK(y.shape() == Shape{2, 6, 3, 2});
  CHECK(y.to_vector() ==
        conv2d(x, layer.weight(), layer.bias(), {.stride = 2, .padding = {1, 0}, .groups = 2}).to_vector());
}

TEST_CASE("nn::Conv2d takes an initialisation and drops the bias on request") {
  nn::ParamStore params;
  const nn::Conv2d layer(params.root() / "c",
                         {.in = 1, .out = 1, .kernel = 2, .bias = false, .weight_init = nn::init::constant(0.5)});
  CHECK(layer.weight().to_vector() == std::vector<double>(4, 0.5));
  CHECK(!layer.bias());
  CHECK(params.all().size() == 1);
}

TEST_CASE("nn::Conv2d refuses impossible sizes before it makes parameters") {
  nn::ParamStore params;
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 0, .out = 1}), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 3, .out = 4, .groups = 2}), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .kernel = 0}), ValueError);
  CHECK_THROWS_WITH(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .padding = -1}),
                    Catch::Contains("\"c\"") && Catch::Contains("padding"));
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .padding = {0, -1}}), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .stride = 0}), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .dilation = {1, 0}}), ValueError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = 1, .out = 1, .groups = 0}), ValueError);
  CHECK(params.all().empty());
}

TEST_CASE("nn::Conv2d refuses weights that overflow") {
  nn::ParamStore params;
  constexpr int64_t big = int64_t{1} << 31;
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = big, .out = 1, .kernel = big}), ShapeError);
  CHECK_THROWS_AS(nn::Conv2d(params.root() / "c", {.in = big, .out = big}), ShapeError);
  CHECK(params.all().empty());
}
