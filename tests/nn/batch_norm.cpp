#include "nn/batch_norm.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "ops/elementwise.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("BatchNorm2d uses the batch's statistics in training and the running ones otherwise") {
  nn::ParamStore params(Device::cpu(), 1, DType::f64);
  nn::BatchNorm2d bn(params.root() / "bn", 1, {.eps = 1e-3, .momentum = 0.25});
  const Tensor x = Tensor::from<double>({1, 2, 3, 6}, {1, 1, 2, 2});  // mean 3, variance 3.5, unbiased 14/3

  const auto y = bn(x).to_vector();
  for (size_t i = 0; i < 4; ++i) CHECK(y[i] == Approx((x.to_vector()[i] - 3) / std::sqrt(3.5 + 1e-3)));
  CHECK(params.find("bn.running_mean").item() == Approx(0.25 * 3));
  CHECK(params.find("bn.running_var").item() == Approx(0.75 + 0.25 * 14 / 3));
  CHECK(params.find("bn.num_batches_tracked").item() == 1);

  params.train(false);
  const double mean = params.find("bn.running_mean").item(), var = params.find("bn.running_var").item();
  const auto z = bn(x).to_vector();
  for (size_t i = 0; i < 4; ++i) CHECK(z[i] == Approx((x.to_vector()[i] - mean) / std::sqrt(var + 1e-3)));
  CHECK(params.find("bn.running_mean").item() == mean);
  CHECK(params.find("bn.num_batches_tracked").item() == 1);
}

TEST_CASE("BatchNorm2d::forward_relu is relu of the sum, and counts its batches") {
  nn::ParamStore params;
  nn::BatchNorm2d bn(params.root() / "bn", 1);
  const Tensor x = Tensor::from<float>({1, 2, 3, 6}, {4, 1}), residual = Tensor::from<float>({2, -9, 1, -9}, {4, 1});
  for (const bool training : {true, false}) {
    params.train(training);
    const auto plain = (bn(x) + residual).to_vector(), fused = bn.forward_relu(x, residual).to_vector();
    for (size_t i = 0; training && i < 4; ++i) CHECK(fused[i] == Approx(std::max(plain[i], 0.0)));
    CHECK(bn.forward_relu(x).to_vector().size() == 4);
  }
  CHECK(params.find("bn.num_batches_tracked").item() == 3);
}

TEST_CASE("BatchNorm2d takes [N,C] and an initial scale") {
  nn::ParamStore params;
  nn::BatchNorm2d bn(params.root() / "bn", 3, {.gamma = 0});
  CHECK(params.find("bn.weight").to_vector() == std::vector<double>{0, 0, 0});
  CHECK(bn(Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3})).to_vector() == std::vector<double>(6, 0));
}

TEST_CASE("BatchNorm2d refuses no channels, no eps and numbers that are not finite") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  nn::ParamStore params;
  CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", int64_t{1} << 62), ShapeError);
  for (const double bad : {nan, inf, -1.0}) {
    CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", 1, {.eps = bad}), ValueError);
    CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", 1, {.momentum = bad}), ValueError);
  }
  CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", 1, {.gamma = nan}), ValueError);
  CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", 0), ValueError);
  CHECK_THROWS_AS(nn::BatchNorm2d(params.root() / "bn", 1, {.eps = 0}), ValueError);
}

TEST_CASE("BatchNorm2d counts batches as far as the counter goes") {
  nn::ParamStore params;
  nn::BatchNorm2d bn(params.root() / "bn", 3);
  Tensor counter = params.find("bn.num_batches_tracked");
  counter.mutable_data<int64_t>()[0] = std::numeric_limits<int64_t>::max() - 1;
  for (int i = 0; i < 2; ++i) bn(Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3}));
  CHECK(counter.data<int64_t>()[0] == std::numeric_limits<int64_t>::max());
}

TEST_CASE("BatchNorm2d refuses an eps and a gamma that vanish or overflow in its dtype") {
  nn::ParamStore single, wide(Device::cpu(), 1, DType::f64);
  int number = 0;
  for (const nn::BatchNorm2dOptions& o : {nn::BatchNorm2dOptions{.eps = 1e-50}, {.eps = 1e39}, {.gamma = 1e300}}) {
    const std::string name = "bn" + std::to_string(number++);
    CHECK_THROWS_AS(nn::BatchNorm2d(single.root() / name, 1, o), ValueError);
    CHECK_NOTHROW(nn::BatchNorm2d(wide.root() / name, 1, o));
  }
}
