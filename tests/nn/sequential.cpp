#include "nn/sequential.h"

#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/optim/adam.h"
#include "nn/optim/sgd.h"
#include "nn/pool.h"
#include "ops/cross_entropy.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("Sequential names children by position and runs them in order") {
  nn::ParamStore params(Device::cpu(), 1, DType::f64);
  nn::Sequential net(params.root() / "net");
  net.add<nn::Linear>({.in = 2, .out = 3}).add<nn::ReLU>().add<nn::Linear>({.in = 3, .out = 1}).add<nn::Flatten>();
  CHECK(net.size() == 4);
  CHECK(params.find("net.0.weight"));
  CHECK(params.find("net.2.bias"));
  CHECK(params.all().size() == 4);

  const Tensor x = Tensor::from<double>({1, -2, 0.5, 3}, {2, 2});
  CHECK(net(x).to_vector() == net[3](net[2](net[1](net[0](x)))).to_vector());
}

namespace {

// Trains a small network on the four points of XOR; the last loss.
double learn_xor(optim::Optimizer& opt, nn::Module& net, double lr) {
  const Tensor x = Tensor::from<float>({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
  const Tensor y = Tensor::from<int64_t>({0, 1, 1, 0}, {4});
  double last = 0;
  for (int step = 0; step < 500; ++step) {
    const Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step(lr);
    last = loss.item();
  }
  return last;
}

}  // namespace

TEST_CASE("a network learns XOR by heart") {
  nn::ParamStore params(Device::cpu(), 3);
  nn::Sequential net(params.root());
  net.add<nn::Linear>({.in = 2, .out = 16}).add<nn::Tanh>().add<nn::Linear>({.in = 16, .out = 2});
  SECTION("by SGD with momentum") {
    optim::Sgd opt(params.trainable(), {.momentum = 0.9});
    CHECK(learn_xor(opt, net, 0.1) < 0.01);
  }
  SECTION("by AdamW") {
    optim::AdamW opt(params.trainable());
    CHECK(learn_xor(opt, net, 0.02) < 0.01);
  }
}

TEST_CASE("a module that is not there is refused") {
  nn::ParamStore params;
  nn::Sequential net(params.root());
  net.add<nn::Tanh>();
  CHECK_NOTHROW(net[0]);
  CHECK_THROWS_AS(net[1], ValueError);
  CHECK_THROWS_AS(params.root().parameter("w", {2}, {}), ValueError);
}
