// Convolutions on the emulator, in every order of threads, with what runs beside them done early and late.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/qconv2d.h"
#include "ops/quantize.h"
#include "tests/cuda/emulate/emulate.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

const Device kDevice = Device::cuda(0);

// Calls fn() for each kernel of an op that is known there, in every order and at every pace.
template <class Args, class Fn>
void in_every_order(const Fn& fn) {
  using emulate::Order, emulate::Pace;
  for (const Kernel<Args>& kernel : kernels<Args>().candidates(DeviceType::cuda))
    for (const Order order : {Order::ascending, Order::descending, Order::shuffled})
      for (const Pace pace : {Pace::at_once, Pace::late}) {
        INFO(kernel.name << ", order " << int(order) << ", pace " << int(pace));
        emulate::set_order(order);
        emulate::set_pace(pace);
        const ForceKernel only{std::string(Args::op), std::string(kernel.name)};
        fn();
      }
  emulate::set_order(Order::shuffled);
  emulate::set_pace(Pace::drawn);
}

// The largest difference, each beside its number, or beside 1 if that is larger.
double largest_difference(const Tensor& got, const Tensor& want) {
  const std::vector<double> a = got.to_vector(), b = want.to_vector();
  REQUIRE(a.size() == b.size());
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i)
    difference = std::max(difference, std::abs(a[i] - b[i]) / std::max(std::abs(b[i]), 1.0));
  return difference;
}

}  // namespace

TEST_CASE("int8 convolutions give the CPU's bytes whatever comes first") {
  RandomTensors random(4);
  const Tensor x = quantize(random.tensor({2, 32, 7, 9}), {0.02f, 120}), scale = Tensor::full({72}, 0.01);
  Tensor w = Tensor::zeros({72, 32, 3, 3}, DType::i8);
  w.copy_from(random.tensor(w.shape(), DType::i8));
  const Tensor bias = Tensor::full({1, 72}, -40, DType::i32);
  const QConv2dOptions o{.conv = {.stride = 2, .padding = 1}, .y = {0.1f, 100}};
  const std::vector<double> want = qconv2d(x, w, scale, bias, {}, o).to_vector();
  in_every_order<op::QConv2d>([&] {
    const Tensor y = qconv2d(x.to(kDevice), w.to(kDevice), scale.to(kDevice), bias.to(kDevice), {}, o);
    CHECK(y.to_vector() == want);
  });
}

TEST_CASE("bf16 convolutions and their gradients give the CPU's numbers whatever comes first") {
  RandomTensors random(5);
  const Tensor x = random.tensor({2, 32, 5, 7}, DType::bf16);
  const Tensor w = cast(random.tensor({40, 32, 3, 3}, DType::bf16), DType::f32);  // some kernels round them
  const Tensor gy = random.tensor({2, 40, 5, 7}, DType::bf16);
  const auto gradients = [&](Device d) {
    Tensor input = x.to(d), weights = w.to(d);
    input.set_requires_grad(true), weights.set_requires_grad(true);
    const Tensor y = conv2d(input, weights, {}, {.padding = 1});
    y.backward(gy.to(d));
    return std::vector<Tensor>{y, input.grad(), weights.grad()};
  };
  const std::vector<Tensor> want = gradients(Device::cpu());
  const auto check = [&] {
    const std::vector<Tensor> got = gradients(kDevice);
    for (size_t i = 0; i < want.size(); ++i) CHECK(largest_difference(got[i], want[i]) < 0.01);  // two of bf16's steps
  };
  in_every_order<op::Conv2dFwd>(check);
  in_every_order<op::Conv2dBwdData>(check);
  in_every_order<op::Conv2dBwdWeights>(check);
}
