// Trains a two-layer network to tell two interleaved half circles apart. The smallest complete program.
#include <cmath>
#include <iomanip>
#include <iostream>
#include <numbers>
#include <string_view>

#include "core/autograd.h"
#include "nn/activation.h"
#include "nn/linear.h"
#include "nn/optim/schedule.h"
#include "nn/optim/sgd.h"
#include "nn/sequential.h"
#include "ops/cross_entropy.h"
#include "ops/reduce.h"

using namespace mininn;

// n points [n,2] and their labels [n]: even points on the upper moon, odd ones on the lower, with noise.
std::pair<Tensor, Tensor> two_moons(int64_t n, Generator& g) {
  std::vector<float> points;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < n; ++i) {
    const bool lower = i % 2;
    const double angle = std::numbers::pi * g.uniform(), side = lower ? -1 : 1;
    points.push_back(float(side * std::cos(angle) + (lower ? 1 : 0) + 0.1 * g.normal()));
    points.push_back(float(side * std::sin(angle) + (lower ? 0.5 : 0) + 0.1 * g.normal()));
    labels.push_back(lower);
  }
  return {Tensor::from(points, {n, 2}), Tensor::from(labels, {n})};
}

void run() {
  nn::ParamStore params(Device::cpu(), /*seed=*/1);
  nn::Sequential net(params.root());
  net.add<nn::Linear>({.in = 2, .out = 32}).add<nn::ReLU>().add<nn::Linear>({.in = 32, .out = 2});
  optim::Sgd opt(params.trainable(), {.momentum = 0.9});

  Generator g(2);
  const int64_t steps = 300;
  for (int64_t step = 0; step < steps; ++step) {
    const auto [x, y] = two_moons(128, g);
    const Tensor loss = cross_entropy(net(x), y);
    opt.zero_grad();
    loss.backward();
    opt.step(optim::cosine_lr(0.2, step, steps));
    if (step % 50 == 0 || step == steps - 1)
      std::cout << "step " << std::setw(3) << step << "  loss " << std::fixed << std::setprecision(4) << loss.item()
                << '\n';
  }

  const NoGradGuard no_grad;
  const auto [x, y] = two_moons(1000, g);
  const Tensor predicted = argmax(net(x), 1);
  int correct = 0;
  for (size_t i = 0; i < 1000; ++i) correct += predicted.data<int64_t>()[i] == y.data<int64_t>()[i];
  std::cout << "accuracy on 1000 new points: " << correct / 10.0 << "%\n" << std::flush;
  if (!std::cout) throw FileError("standard output cannot be written");
}

int main(int argc, char** argv) {
  if (argc > 1) {
    const bool asked = std::string_view(argv[1]) == "--help";
    (asked ? std::cout : std::cerr) << "usage: hello_mlp (there are no options)\n";
    return asked ? 0 : 2;
  }
  try {
    run();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "hello_mlp: " << e.what() << '\n';
    return 1;
  }
}
