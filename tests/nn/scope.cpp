#include "nn/scope.h"

#include "core/error.h"
#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/init.h"
#include "nn/linear.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

std::vector<std::string> names(const std::vector<Tensor>& tensors) {
  std::vector<std::string> out;
  for (const Tensor& t : tensors) out.push_back(t.name());
  return out;
}

}  // namespace

TEST_CASE("a block's tensors have torchvision's names and order") {
  nn::ParamStore params;
  const nn::Scope s = params.root() / "layer2.0";
  const nn::Conv2d conv1(s / "conv1", {.in = 4, .out = 8, .kernel = 3, .stride = 2, .padding = 1, .bias = false});
  const nn::BatchNorm2d bn1(s / "bn1", 8);
  const nn::Conv2d down(s / "downsample.0", {.in = 4, .out = 8, .kernel = 1, .stride = 2, .bias = false});
  const nn::BatchNorm2d down_bn(s / "downsample.1", 8);
  const nn::Linear fc(params.root() / "fc", {.in = 8, .out = 10});

  // torchvision.models.resnet: list(block.state_dict()) of a BasicBlock without its second half, then of the head.
  CHECK(names(params.all()) ==
        std::vector<std::string>{
            "layer2.0.conv1.weight", "layer2.0.bn1.weight", "layer2.0.bn1.bias", "layer2.0.bn1.running_mean",
            "layer2.0.bn1.running_var", "layer2.0.bn1.num_batches_tracked", "layer2.0.downsample.0.weight",
            "layer2.0.downsample.1.weight", "layer2.0.downsample.1.bias", "layer2.0.downsample.1.running_mean",
            "layer2.0.downsample.1.running_var", "layer2.0.downsample.1.num_batches_tracked", "fc.weight", "fc.bias"});
  CHECK(names(params.trainable()) == std::vector<std::string>{"layer2.0.conv1.weight", "layer2.0.bn1.weight",
                                                              "layer2.0.bn1.bias", "layer2.0.downsample.0.weight",
                                                              "layer2.0.downsample.1.weight",
                                                              "layer2.0.downsample.1.bias", "fc.weight", "fc.bias"});
  CHECK(params.find("layer2.0.conv1.weight").shape() == Shape{8, 4, 3, 3});
  CHECK(params.find("layer2.0.bn1.num_batches_tracked").dtype() == DType::i64);
  CHECK(params.find("layer2.0.bn1.num_batches_tracked").shape() == Shape{});
  CHECK(params.find("fc.weight").shape() == Shape{10, 8});
  CHECK(!params.find("fc"));
  CHECK(params.count() == 8 * 4 * 9 + 16 + 8 * 4 + 16 + 80 + 10);
}

TEST_CASE("initial values depend on the seed and the path alone") {
  const auto draw = [](uint64_t seed, std::initializer_list<const char*> order) {
    nn::ParamStore params(Device::cpu(), seed);
    for (const char* name : order) params.root().parameter(name, {5}, nn::init::normal(0, 1));
    return params.find("a").to_vector();
  };
  CHECK(draw(1, {"a"}) == draw(1, {"b", "c", "a"}));
  CHECK(draw(1, {"a"}) != draw(2, {"a"}));
  nn::ParamStore params;
  CHECK(params.root().parameter("a", {5}, nn::init::normal(0, 1)).to_vector() !=
        params.root().parameter("b", {5}, nn::init::normal(0, 1)).to_vector());
}

TEST_CASE("handles of a store share elements and gradients") {
  nn::ParamStore params;
  const Tensor w = params.root().parameter("w", {2}, nn::init::constant(1));
  Tensor handle = params.trainable().at(0);
  handle.fill(3);
  handle.set_grad(Tensor::full({2}, 4));
  CHECK(w.to_vector() == std::vector<double>{3, 3});
  CHECK(w.grad().to_vector() == std::vector<double>{4, 4});
  CHECK(w.requires_grad());
}

TEST_CASE("a store refuses a name twice, an empty name and a dtype that cannot be trained") {
  nn::ParamStore params;
  params.root().buffer("x", {1}, 0);
  CHECK_THROWS_AS(params.root().buffer("x", {1}, 0), ValueError);
  CHECK_THROWS_AS(params.root().parameter("x", {1}, nn::init::constant(0)), ValueError);
  CHECK_THROWS_AS(params.root().counter("x"), ValueError);
  CHECK_THROWS_AS(params.root() / "", ValueError);
  CHECK_THROWS_AS(nn::ParamStore(Device::cpu(), 0, DType::i8), DTypeError);
  CHECK(params.all().size() == 1);
}

TEST_CASE("the mode is shared and outlives its store") {
  nn::Mode mode;
  {
    nn::ParamStore params;
    mode = params.mode();
    CHECK(params.training());
    CHECK(*mode);
    params.train(false);
    CHECK(!params.training());
  }
  CHECK(!*mode);
}

TEST_CASE("a store's dtype is that of its parameters and buffers") {
  nn::ParamStore params(Device::cpu(), 0, DType::f64);
  CHECK(params.root().parameter("w", {1}, nn::init::constant(0.1)).item() == 0.1);
  CHECK(params.root().buffer("b", {1}, 0.1).item() == 0.1);
}
