#include "examples/cifar_resnet/unfold.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "data/augment.h"
#include "data/synthetic.h"
#include "nn/graph/trace.h"
#include "quant/calibrator.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace cifar_resnet;

namespace {

// The largest difference beside the largest number.
double relative_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  REQUIRE(x.size() == y.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference = std::max(difference, std::abs(x[i] - y[i]));
    size = std::max(size, std::abs(y[i]));
  }
  return difference / size;
}

// A network whose norms have seen something, and its int8 form.
quant::Int8Net quantized(Fp32Network& net, const Tensor& images) {
  const NoGradGuard no_grad;
  const Tensor x = data::normalize(images);
  net.params.train(true);
  for (int i = 0; i < 30; ++i) (*net.model)(x);
  net.params.train(false);
  quant::Calibrator calibrator(nn::trace(*net.model, Tensor::zeros({1, 3, 32, 32})),
                               {.input = data::kCifar10Normalization});
  calibrator.observe(images);
  return calibrator.compile();
}

}  // namespace

TEST_CASE("an int8 network becomes a float network with its output and norms of what they see") {
  const std::string arch = GENERATE("resnet18", "resnet9", "mobilenetv2", "vgg11");
  INFO(arch);
  const NoGradGuard no_grad;
  const Tensor images = data::synthetic(24, data::Split::train).images, x = data::normalize(images);
  Fp32Network net(architecture(arch), Device::cpu(), 1, 4), back(architecture(arch), Device::cpu(), 2, 4);
  const quant::Int8Net int8 = quantized(net, images);
  unfold(int8.model(), back, images);
  CHECK(back.params.training());
  back.params.train(false);
  const Tensor y = (*back.model)(x);
  CHECK(relative_difference(y, int8.forward(images)) < 0.1);  // codes of activations are rounded
  CHECK(relative_difference(y, net.classifier()(images)) < 0.1);
  // With these images a norm that trains does the same.
  back.params.train(true);
  CHECK(relative_difference((*back.model)(x), y) < 1e-3);
}

TEST_CASE("an int8 network of another width or architecture does not unfold, and nothing changes") {
  const NoGradGuard no_grad;
  const Tensor images = data::synthetic(8, data::Split::train).images;
  Fp32Network net(architecture("resnet18"), Device::cpu(), 1, 4);
  const quant::Int8Net int8 = quantized(net, images);
  Fp32Network wider(architecture("resnet18"), Device::cpu(), 2, 8), other(architecture("resnet9"), Device::cpu(), 2, 4);
  for (Fp32Network* n : {&wider, &other}) {
    std::vector<std::vector<double>> before;
    for (const Tensor& t : n->params.all()) before.push_back(t.to_vector());
    CHECK_THROWS_AS(unfold(int8.model(), *n, images), ValueError);
    for (size_t i = 0; i < before.size(); ++i) CHECK(n->params.all()[i].to_vector() == before[i]);
  }
}
