// The networks of examples/cifar_resnet: are they the ones of the papers, do they learn, and can they be quantized?
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "core/autograd.h"
#include "core/kernel.h"
#include "data/augment.h"
#include "data/synthetic.h"
#include "examples/cifar_resnet/architecture.h"
#include "nn/graph/trace.h"
#include "ops/cast.h"
#include "ops/cross_entropy.h"
#include "ops/qconv2d.h"
#include "quant/calibrator.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using cifar_resnet::Architecture, cifar_resnet::architecture, cifar_resnet::Network;

namespace {

constexpr int64_t kNarrow = Architecture::kBaseChannels / 8;

// Networks whose values do not matter.
Tensor zeros(const std::string&, const Shape& shape, DType dtype) { return Tensor::zeros(shape, dtype); }

struct Net {
  Net(const Architecture& a, int64_t base_channels)
      : params(Device::cpu(), /*seed=*/3), model(a.make(params.root(), base_channels)) {}
  nn::ParamStore params;
  std::unique_ptr<Network> model;
};

const Architecture& any_architecture() {
  return GENERATE(from_range(cifar_resnet::architectures().begin(), cifar_resnet::architectures().end()));
}

bool all_finite(const Tensor& t) {
  const auto values = t.to_vector();
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

}  // namespace

TEST_CASE("networks have the parameters of the papers and the names of their checkpoints") {
  // Of torchvision's resnet18 and resnet50 with this stem and 10 classes, of the layers of its vgg11_bn and a
  // classifier, and of pytorch-cifar's MobileNetV2. ResNet-9's is the sum over its layers.
  const std::map<std::string, int64_t> parameters{{"resnet18", 11'173'962},
                                                  {"resnet9", 6'573'130},
                                                  {"resnet50", 23'520'842},
                                                  {"vgg11", 9'231'114},
                                                  {"mobilenetv2", 2'296'922}};
  const std::map<std::string, std::map<std::string, Shape>> some{
      {"resnet18", {{"layer2.0.downsample.0.weight", {128, 64, 1, 1}}, {"fc.weight", {10, 512}}}},
      {"resnet9", {{"layer3.block.conv2.weight", {512, 512, 3, 3}}}},
      {"resnet50", {{"layer1.0.downsample.1.running_var", {256}}, {"layer3.5.conv2.weight", {256, 256, 3, 3}}}},
      {"vgg11", {{"features.0.bias", {64}}, {"features.25.weight", {512, 512, 3, 3}}, {"features.26.bias", {512}}}},
      {"mobilenetv2", {{"layers.16.conv2.weight", {960, 1, 3, 3}}, {"layers.1.shortcut.0.weight", {24, 16, 1, 1}}}}};
  const Architecture& a = any_architecture();
  CAPTURE(a.name);
  nn::ParamStore params(Device::cpu(), zeros);
  const auto net = a.make(params.root(), Architecture::kBaseChannels);
  CHECK(params.count() == parameters.at(a.name));
  for (const auto& [path, shape] : some.at(a.name)) {
    CAPTURE(path);
    REQUIRE(params.find(path));
    CHECK(params.find(path).shape() == shape);
  }
}

TEST_CASE("the filters of the stem say how wide a network is") {
  const Architecture& a = any_architecture();
  const int64_t base = GENERATE(1, 5, 16);
  CAPTURE(a.name, base);
  nn::ParamStore params(Device::cpu(), zeros), again(Device::cpu(), zeros);
  const auto net = a.make(params.root(), base);
  const Tensor stem = params.find(std::string(a.stem) + ".weight");
  REQUIRE(stem);
  const auto same = a.make(again.root(), a.stem_divisor * stem.size(0));
  REQUIRE(params.all().size() == again.all().size());
  for (size_t i = 0; i < params.all().size(); ++i) CHECK(params.all()[i].shape() == again.all()[i].shape());
}

TEST_CASE("networks give logits and at most five pictures' worth of feature maps, at any width") {
  const Architecture& a = any_architecture();
  const int64_t base = GENERATE(1, kNarrow, Architecture::kBaseChannels);
  CAPTURE(a.name, base);
  nn::ParamStore params(Device::cpu(), zeros);
  const auto net = a.make(params.root(), base);
  params.train(false);
  const NoGradGuard no_grad;
  const Tensor images = testing::RandomTensors(1).tensor({2, 3, 32, 32});
  CHECK((*net)(images).shape() == Shape{2, 10});
  std::vector<Tensor> maps;
  CHECK(net->forward(images, &maps).shape() == Shape{2, 10});
  CHECK(maps.size() <= 5);
  for (size_t i = 0; i < maps.size(); ++i) {
    CHECK(maps[i].rank() == 4);
    CHECK(maps[i].size(2) == (i == 0 ? 32 : maps[i - 1].size(2) / (maps[i - 1].size(2) == maps[i].size(2) ? 1 : 2)));
  }
  CHECK(maps.back().size(2) <= 4);
}

TEST_CASE("a gradient reaches every parameter of a network, in mixed precision too") {
  const Architecture& a = any_architecture();
  const bool amp = GENERATE(false, true);
  CAPTURE(a.name, amp);
  Net net(a, kNarrow);
  const Tensor images = testing::RandomTensors(2).tensor({8, 3, 32, 32});
  const Tensor labels = Tensor::from<int64_t>({0, 1, 2, 3, 4, 5, 6, 7}, {8});
  cross_entropy((*net.model)(amp ? cast(images, DType::bf16) : images), labels).backward();
  for (const Tensor& p : net.params.trainable()) {
    CAPTURE(p.name());
    REQUIRE(p.grad());
    CHECK(all_finite(p.grad()));
    // A bias in front of a batch norm changes nothing: what its gradient holds is rounding.
    const auto g = p.grad().to_vector();
    CHECK(std::any_of(g.begin(), g.end(), [](double v) { return v != 0; }));
  }
}

TEST_CASE("every network has an int8 form whose logits are near and the same bytes on every kernel") {
  const Architecture& a = any_architecture();
  CAPTURE(a.name);
  const NoGradGuard no_grad;
  Net net(a, kNarrow);
  const data::Dataset set = data::synthetic(16, data::Split::train);
  const Tensor images = data::normalize(set.images);
  for (int i = 0; i < 20; ++i) (*net.model)(images);  // running statistics
  net.params.train(false);
  quant::Calibrator calibrator(nn::trace(*net.model, Tensor::zeros({1, 3, 32, 32})),
                               {.input = data::kCifar10Normalization});
  calibrator.observe(set.images);
  const quant::Int8Net int8 = calibrator.compile();
  CHECK(int8.report().int8_mac_coverage() == 1);

  const auto expected = (*net.model)(images).to_vector();
  const auto logits = int8(set.images).to_vector();
  double error = 0, signal = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    error += (logits[i] - expected[i]) * (logits[i] - expected[i]);
    signal += expected[i] * expected[i];
  }
  CHECK(signal > 0);
  CHECK(std::sqrt(error / signal) < 0.1);

  const ForceKernel forced("qconv2d", "ref");
  CHECK(quant::Int8Net(int8.model())(set.images).to_vector() == logits);
}
