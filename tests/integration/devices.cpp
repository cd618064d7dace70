// What is made of ops, on a device that is not the CPU: optimizers and the training of a network.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "data/synthetic.h"
#include "examples/cifar_resnet/conv_bn.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/resnet.h"
#include "nn/ema.h"
#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "nn/optim/adam.h"
#include "nn/optim/sgd.h"
#include "nn/serialize.h"
#include "ops/cast.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/requantize.h"
#include "quant/calibrator.h"
#include "quant/int8_net.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

using Values = std::vector<std::vector<double>>;

void check_close(const Values& expected, const Values& got, double tolerance) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    REQUIRE(got[i].size() == expected[i].size());
    double worst = 0;
    for (size_t j = 0; j < got[i].size(); ++j) {
      const double error = std::abs(got[i][j] - expected[i][j]) / (1 + std::abs(expected[i][j]));
      worst = std::isnan(error) ? error : std::max(worst, error);
    }
    INFO("tensor " << i);
    CHECK(worst <= tolerance);
  }
}

// Parameters, state and averages after a few steps down a bowl.
template <class Make>
Values optimize_on(Device device, const Make& make) {
  RandomTensors random(3);
  std::vector<Tensor> params{random.away_from_zero({3, 4}, 0.5, 2).to(device),
                             random.away_from_zero({5}, 0.5, 2).to(device)};
  for (Tensor& p : params) p.set_requires_grad(true);
  const auto optimizer = make(params);
  for (int i = 0; i < 4; ++i) {
    optimizer->zero_grad();
    (sum(square(params[0])) + sum(exp(params[1]))).backward();
    optimizer->step(0.1);
    if (i != 1) continue;
    const optim::State state = optimizer->state();  // takes it back from the CPU
    optim::State on_cpu;
    for (const auto& [name, t] : state) on_cpu.emplace_back(name, t.to(Device::cpu()).clone());
    optimizer->load_state(on_cpu);
  }
  Values out;
  for (const Tensor& p : params) out.push_back(p.to_vector());
  for (const auto& [name, t] : optimizer->state()) out.push_back(t.to_vector());
  return out;
}

template <class Optimizer, class Options>
void check_optimizer(Device device, const Options& options) {
  const auto make = [&](const std::vector<Tensor>& p) { return std::make_unique<Optimizer>(p, options); };
  check_close(optimize_on(Device::cpu(), make), optimize_on(device, make), 1e-12);
}

}  // namespace

TEST_CASE("optimizers do on another device what they do on the CPU") {
  const Device device = GENERATE(from_range(other_devices()));
  check_optimizer<optim::Sgd>(device, optim::SgdOptions{});
  check_optimizer<optim::Sgd>(device, optim::SgdOptions{.momentum = 0.9, .weight_decay = 0.01, .nesterov = true});
  check_optimizer<optim::Adam>(device, optim::AdamOptions{.weight_decay = 0.01});
  check_optimizer<optim::AdamW>(device, optim::AdamOptions{.weight_decay = 0.01});
}

namespace {

// All parameters, statistics and averages of a narrow ResNet-18 after steps on one batch.
Values train_on(Device device) {
  nn::ParamStore params(device, /*seed=*/5, DType::f64);
  cifar_resnet::ResNet18 model(params.root(), {.base_channels = 2});
  optim::Sgd optimizer(params.trainable(), {.momentum = 0.9, .weight_decay = 5e-4});
  nn::Ema average(params.all(), 0.9);
  RandomTensors random(7);
  const Tensor images = random.away_from_zero({2, 3, 16, 16}, 0.1, 1).to(device);
  const Tensor labels = Tensor::from<int64_t>({3, 8}, {2}).to(device);
  Values out;
  for (int i = 0; i < 2; ++i) {
    const Tensor loss = cross_entropy(model(images), labels, {.label_smoothing = 0.1});
    optimizer.zero_grad();
    loss.backward();
    optimizer.step(0.05);
    average.update();
    out.push_back({loss.item()});
  }
  for (const Tensor& t : params.all()) out.push_back(t.to_vector());
  params.train(false);
  out.push_back(model(images).to_vector());
  return out;
}

}  // namespace

TEST_CASE("ResNet-18 learns on another device what it learns on the CPU") {
  const Device device = GENERATE(from_range(other_devices()));
  check_close(train_on(Device::cpu()), train_on(device), 1e-9);
}

TEST_CASE("a convolution in mixed precision gives on another device the CPU's gradients, within what bf16 rounds") {
  const Device device = GENERATE(from_range(other_devices()));
  const auto gradients = [](Device where) {
    RandomTensors random(11);
    const Tensor images = random.away_from_zero({2, 3, 12, 12}, 0.1, 1).to(where);
    nn::ParamStore params(where, 3);
    cifar_resnet::ConvBn stem(params.root() / "c1", params.root() / "b1", {.in = 3, .out = 16});
    cifar_resnet::ConvBn next(params.root() / "c2", params.root() / "b2", {.in = 16, .out = 24, .stride = 2});
    const Tensor y = next(stem(cast(images, DType::bf16)));
    sum(y * y).backward();
    Values out{y.to_vector()};
    for (const Tensor& t : params.trainable()) out.push_back(t.grad().to_vector());
    return out;
  };
  const Values here = gradients(Device::cpu()), there = gradients(device);
  REQUIRE(here.size() == there.size());
  for (size_t i = 0; i < here.size(); ++i) {  // relative to all of a tensor: its sums cancel
    double error = 0, size = 0;
    for (size_t j = 0; j < here[i].size(); ++j) {
      error += (here[i][j] - there[i][j]) * (here[i][j] - there[i][j]);
      size += here[i][j] * here[i][j];
    }
    INFO("tensor " << i);
    CHECK(std::sqrt(error) <= 0.02 * std::sqrt(size) + 1e-3);
  }
}

TEST_CASE("a network that lives on another device goes into a file and back, and is traced and run there") {
  const Device device = GENERATE(from_range(other_devices()));
  const testing::TempFolder folder;
  const auto logits = [&](Device where, uint64_t seed, bool load) {
    nn::ParamStore params(where, seed);
    cifar_resnet::ResNet18 model(params.root(), {.base_channels = 2});
    if (load)
      nn::load_safetensors(folder / "net.safetensors", params);
    else
      nn::save_safetensors(folder / "net.safetensors", params);
    params.train(false);
    const Tensor x = RandomTensors(9).tensor({2, 3, 16, 16}).to(where);
    const nn::graph::Graph g = nn::graph::optimize(nn::trace(model, x));
    const Tensor y = nn::graph::run(g, x);
    CHECK(y.device() == where);
    return Values{model(x).to_vector(), y.to_vector()};
  };
  const Values there = logits(device, 1, false), here = logits(Device::cpu(), 2, true), again = logits(device, 3, true);
  check_close(here, there, 1e-4);
  check_close(there, again, 0);
}

TEST_CASE("a file's network classifies images on another device, int8 ones to the CPU's bytes") {
  const Device device = GENERATE(from_range(other_devices()));
  const testing::TempFolder folder;
  cifar_resnet::Fp32Network net(cifar_resnet::architecture("resnet18"), Device::cpu(), 1, 4);
  nn::save_safetensors(folder / "net.safetensors", net.params, {{"architecture", net.architecture->in_files()}});
  const data::Dataset set = data::synthetic(3, data::Split::test);
  quant::Calibrator calibrator(net.graph(), {.input = data::kCifar10Normalization});
  calibrator.observe(data::synthetic(16, data::Split::train).images);
  calibrator.compile().save(folder / "int8.safetensors");
  const auto logits = [&](const char* file, Device d) {
    return Values{cifar_resnet::load_classifier(folder / file, d)(set.images).to_vector()};
  };
  check_close(logits("net.safetensors", Device::cpu()), logits("net.safetensors", device), 1e-4);
  check_close(logits("int8.safetensors", Device::cpu()), logits("int8.safetensors", device), 0);

  cifar_resnet::Fp32Network there(cifar_resnet::architecture("resnet18"), device, 1, 4);
  check_close({net.classifier()(set.images).to_vector()}, {there.classifier()(set.images).to_vector()}, 1e-4);
}

TEST_CASE("a program runs on another device, whatever stream is current there") {
  const Device device = GENERATE(from_range(other_devices()));
  nn::ParamStore params(device, 1);
  cifar_resnet::ResNet18 model(params.root(), {.base_channels = 2});
  params.train(false);
  const auto image = [](uint64_t seed, int64_t n) { return RandomTensors(seed).tensor({n, 3, 16, 16}); };
  const nn::graph::Graph g = nn::graph::optimize(nn::trace(model, image(1, 2).to(device)));
  const nn::graph::Program program(g);
  const Stream other = new_stream(device);
  for (const bool aside : {false, true, false})
    for (const int64_t n : {2, 5}) {
      std::optional<StreamGuard> guard;
      if (aside) guard.emplace(other);
      const Tensor first = image(2, n).to(device), second = image(3, n).to(device);
      const Tensor y = program(first), z = program(second);  // one behind the other in one arena
      check_close({nn::graph::run(g, first).to_vector()}, {y.to_vector()}, 0);
      check_close({nn::graph::run(g, second).to_vector()}, {z.to_vector()}, 0);
    }
}

TEST_CASE("an int8 network gives the CPU's bytes on another device") {
  const Device device = GENERATE(from_range(other_devices()));
  nn::ParamStore params(Device::cpu(), 1);
  cifar_resnet::ResNet18 model(params.root(), {.base_channels = 4});
  params.train(false);
  const auto images = [](uint64_t seed, int64_t n) { return RandomTensors(seed).tensor({n, 3, 16, 16}); };
  quant::Calibrator calibrator(nn::trace(model, images(1, 1)));
  calibrator.observe(images(2, 8));
  const quant::Int8Net net = calibrator.compile();
  nn::graph::Graph g = net.model().graph;
  g.to(device);
  const nn::graph::Program there(g, {{1, 2}, {4, 8}});
  for (const int64_t n : {1, 4, 3}) {
    const Tensor x = images(3, n), y = there(x.to(device));
    CHECK(y.device() == device);
    check_close({net(x).to_vector()}, {y.to_vector()}, 0);
    check_close({net(x).to_vector()}, {nn::graph::run(g, x.to(device)).to_vector()}, 0);
  }
}

TEST_CASE("the int8 ResNet-18 of models/ gives the CPU's bytes on a CUDA device") {
  if (device_count(DeviceType::cuda) == 0) return;
  const Device device = Device::cuda(0);
  const auto file = std::filesystem::path(MININN_SOURCE_DIR) / "models/resnet18_int8.safetensors";
  const Tensor images = data::synthetic(2, data::Split::test).images;
  const auto here = cifar_resnet::load_classifier(file), there = cifar_resnet::load_classifier(file, device);
  check_close({here(images).to_vector()}, {there(images).to_vector()}, 0);
}

TEST_CASE("operands on two devices are refused by every op on codes") {
  const Device device = GENERATE(from_range(other_devices()));
  const Tensor x = quantize(RandomTensors(1).tensor({1, 4, 3, 3}), {0.1f, 100}), there = x.to(device);
  const Tensor w = Tensor::full({2, 4, 1, 1}, 3, DType::i8), scale = Tensor::full({2}, 0.5);
  const Tensor bias = Tensor::zeros({1, 2}, DType::i32), table = Tensor::zeros({256}, DType::u8);
  CHECK_THROWS_AS(qadd(x, there, {}), DeviceError);
  CHECK_THROWS_AS(qmul(x, there, {}), DeviceError);
  CHECK_THROWS_AS(qcat({x, there}, {}), DeviceError);
  CHECK_THROWS_AS(qlut(x, table.to(device), {}), DeviceError);
  CHECK_THROWS_AS(qlut(there, table, {}), DeviceError);
  CHECK_THROWS_AS(real_add(x, there), DeviceError);
  CHECK_THROWS_AS(qconv2d(x, w.to(device), scale, bias.to(device), {}, {}), DeviceError);
  CHECK_THROWS_AS(qconv2d(there, w, scale, bias, {}, {}), DeviceError);
  CHECK_THROWS_AS(qconv2d(x, w, scale, bias.to(device), {}, {}), DeviceError);
  CHECK_THROWS_AS(qlinear(qglobal_sum(there), Tensor::full({2, 4}, 3, DType::i8), scale, Tensor::zeros({2}, DType::i32),
                          {.pixels = 9}),
                  DeviceError);
}
