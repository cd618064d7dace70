// Every differentiable op and its gradient on a device that is not the CPU: the same numbers, and no way through the
// host.
#include <algorithm>
#include <cmath>

#include "ops/batch_norm.h"
#include "ops/qadd.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "tests/ops/gradcheck_cases.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

// The op's result and the gradients of its floating inputs, as the CPU holds them.
std::vector<std::vector<double>> run_on(Device device, const GradCase& c) {
  std::vector<Tensor> in;
  for (const Tensor& x : c.inputs) {
    Tensor t = x.to(device).detach();
    if (is_floating(t.dtype())) t.set_requires_grad(true);
    in.push_back(t);
  }
  const Tensor y = c.fn(in);
  REQUIRE(y.device() == device);
  y.backward(RandomTensors(1).away_from_zero(y.shape(), 0.5, 2).to(device));
  std::vector<std::vector<double>> out{y.to_vector()};
  for (const Tensor& t : in) {
    if (!t.requires_grad()) continue;
    REQUIRE(t.grad().device() == device);
    out.push_back(t.grad().to_vector());
  }
  return out;
}

bool close(const std::vector<double>& a, const std::vector<double>& b, double eps) {
  return std::ranges::equal(a, b, [&](double x, double y) { return std::abs(x - y) <= 1e3 * eps * (1 + std::abs(x)); });
}

}  // namespace

TEST_CASE("every op and its gradient give on another device what they give on the CPU") {
  const Device device = GENERATE(from_range(other_devices()));
  for (const GradCase& c : grad_cases()) {
    INFO(to_string(device) << ": " << c.op << ", " << c.what);
    const auto expected = run_on(Device::cpu(), c), got = run_on(device, c);
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(close(expected[i], got[i], c.eps));
  }
}

TEST_CASE("a batch without channels trains on another device, too") {
  const Device device = GENERATE(from_range(other_devices()));
  Tensor mean = Tensor::zeros({0}, DType::f32, device), var = Tensor::full({0}, 1, DType::f32, device);
  Tensor x = Tensor::zeros({2, 0, 3, 3}, DType::f32, device), gamma = Tensor::full({0}, 1, DType::f32, device);
  x.set_requires_grad(true);
  const Tensor y = batch_norm(x, gamma, Tensor::zeros({0}, DType::f32, device), mean, var, {.training = true});
  y.backward(Tensor::zeros({2, 0, 3, 3}, DType::f32, device));
  CHECK(y.to_vector().empty());
  CHECK(x.grad().shape() == x.shape());
}

TEST_CASE("codes that were copied, or moved to another device, are still what ops take") {
  const Device device = GENERATE(from_range(every_device()));
  const Tensor codes = quantize(RandomTensors(1).tensor({2, 3, 2, 2}), {0.01f, 100});
  const Tensor there = codes.to(device).clone(), sum = qadd(there, there, {.y = {0.02f, 100}});
  CHECK(sum.to_vector() == codes.to_vector());
}
