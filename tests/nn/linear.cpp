#include "nn/linear.h"

#include "core/error.h"
#include "nn/init.h"
#include "ops/cast.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("nn::Linear computes x W^T + b") {
  nn::ParamStore params(Device::cpu(), 1, DType::f64);
  nn::Linear layer(params.root() / "fc", {.in = 3, .out = 2});
  params.find("fc.weight").copy_from(Tensor::from<double>({1, 2, 3, 4, 5, 6}, {2, 3}));
  params.find("fc.bias").copy_from(Tensor::from<double>({10, 20}, {2}));
  CHECK(layer(Tensor::from<double>({1, 0, -1, 1, 1, 1}, {2, 3})).to_vector() == std::vector<double>{8, 18, 16, 35});
}

TEST_CASE("nn::Linear without a bias, and with impossible sizes") {
  nn::ParamStore params;
  nn::Linear layer(params.root() / "fc", {.in = 2, .out = 1, .bias = false, .weight_init = nn::init::constant(3)});
  CHECK(!layer.bias());
  CHECK(layer(Tensor::from<float>({1, 2}, {1, 2})).item() == 9);
  CHECK_THROWS_AS(nn::Linear(params.root() / "b", {.in = 2}), ValueError);
}

TEST_CASE("layers whose weights overflow are refused before they are made") {
  nn::ParamStore params;
  constexpr int64_t big = int64_t{1} << 31, huge = int64_t{1} << 62;
  CHECK_THROWS_AS(nn::Linear(params.root() / "a", {.in = big, .out = big}), ShapeError);
  CHECK_THROWS_AS(nn::Linear(params.root() / "b", {.in = huge, .out = huge}), ShapeError);
  CHECK_THROWS_AS(nn::Linear(params.root() / "c", {.in = huge / 16, .out = 1}), Error);
  CHECK(params.all().empty());
}

TEST_CASE("in mixed precision a linear layer answers in f32") {
  nn::ParamStore params;
  nn::Linear fc(params.root() / "fc", {.in = 3, .out = 2});
  Tensor x = cast(Tensor::from<float>({1, 2, 3}, {1, 3}), DType::bf16);
  x.set_requires_grad(true);
  const Tensor y = fc(x);
  CHECK(y.dtype() == DType::f32);
  CHECK(y.to_vector() == fc(cast(x, DType::f32).detach()).to_vector());
  y.backward(Tensor::full({1, 2}, 1));
  CHECK(x.grad().dtype() == DType::bf16);
  CHECK(params.find("fc.weight").grad().dtype() == DType::f32);
}
