#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/stream.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "tests/support/deferred_device.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("cross entropy is the mean of -log softmax at the labels, mixed with that of all classes by smoothing") {
  RandomTensors random(test_seed());
  for (const double smoothing : {0.0, 0.1, 0.5})
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor logits = random.tensor({7, 5}, dtype);
      const std::vector<int64_t> labels{0, 4, 2, 2, 1, 3, 0};
      const auto log_p = log_softmax(logits, 1).to_vector();
      double expected = 0;
      for (size_t i = 0; i < 7; ++i)
        for (size_t j = 0; j < 5; ++j)
          expected -= log_p[i * 5 + j] * (smoothing / 5 + (int64_t(j) == labels[i] ? 1 - smoothing : 0)) / 7;
      const Tensor loss = cross_entropy(logits, Tensor::from(labels, {7}), {.label_smoothing = smoothing});
      CHECK(loss.shape() == Shape{});
      CHECK(loss.dtype() == dtype);
      CHECK(loss.item() == Approx(expected).epsilon(dtype == DType::f32 ? 1e-6 : 1e-12));
    }
}

TEST_CASE("the gradient of cross entropy is (softmax - target) / N") {
  Tensor logits = Tensor::from<float>({2, 1, 0, 0, 1, 5}, {2, 3});
  logits.set_requires_grad(true);
  cross_entropy(logits, Tensor::from<int64_t>({0, 2}, {2})).backward();
  const auto p = softmax(logits.detach(), 1).to_vector(), g = logits.grad().to_vector();
  for (size_t i = 0; i < 6; ++i) CHECK(g[i] == Approx((p[i] - (i == 0 || i == 5)) / 2).margin(1e-7));
}

TEST_CASE("cross entropy stays finite for certain and for impossible predictions") {
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor certain = Tensor::from<double>({1000, -1000, -inf}, {1, 3});
  CHECK(cross_entropy(certain, Tensor::from<int64_t>({0}, {1})).item() == 0);
  CHECK(cross_entropy(certain, Tensor::from<int64_t>({1}, {1})).item() == Approx(2000));
  CHECK(cross_entropy(certain, Tensor::from<int64_t>({2}, {1})).item() == inf);
}

TEST_CASE("cross entropy names the label that is out of range and what does not fit") {
  const Tensor logits = Tensor::zeros({3, 4});
  const auto labels = [](std::vector<int64_t> v) { return Tensor::from(v, {int64_t(v.size())}); };
  CHECK_THROWS_WITH(cross_entropy(logits, labels({0, 4, 1})), Contains("label 1 is 4"));
  CHECK_THROWS_AS(cross_entropy(logits, labels({0, 1, -1})), ValueError);
  CHECK_THROWS_AS(cross_entropy(logits, labels({0, 1})), ShapeError);
  CHECK_THROWS_AS(cross_entropy(Tensor::zeros({0, 4}), labels({})), ShapeError);
  CHECK_THROWS_AS(cross_entropy(Tensor::zeros({3, 4, 1}), labels({0, 1, 2})), ShapeError);
  CHECK_THROWS_AS(cross_entropy(logits, Tensor::zeros({3})), DTypeError);
  CHECK_THROWS_AS(cross_entropy(Tensor::zeros({3, 4}, DType::bf16), labels({0, 1, 2})), DTypeError);
  CHECK_THROWS_AS(cross_entropy(logits, labels({0, 1, 2}), {.label_smoothing = 1}), ValueError);
}

TEST_CASE("on a device that works later, a wrong label is thrown by what waits, and the gradient does not use it") {
  install_deferred_device();
  Tensor logits = Tensor::zeros({3, 4}).to(Device::custom());
  logits.set_requires_grad(true);
  const Tensor labels = Tensor::from<int64_t>({0, 4, 1}, {3}).to(Device::custom());
  const Stream stream = current_stream(Device::custom());
  const Tensor loss = cross_entropy(logits, labels);
  loss.backward();
  CHECK_THROWS_WITH(synchronize(stream), "cross_entropy: label 1 is 4, outside [0, 4)");  // the op's
  CHECK_THROWS_AS(synchronize(stream), ValueError);                                       // its gradient's
  CHECK_NOTHROW(synchronize(stream));
  CHECK(std::isnan(loss.item()));
}

TEST_CASE("a wrong label leaves what the kernels would write, and a region of threads, as they were") {
  const Tensor logits = Tensor::zeros({3, 4}), labels = Tensor::from<int64_t>({0, 1, -1}, {3});
  Tensor probs = Tensor::full({3, 4}, 7), loss = Tensor::full({}, 7), gx = Tensor::full({3, 4}, 7);
  const Tensor gy = Tensor::full({}, 1);
  const op::CrossEntropyFwd fwd{3, 4, 0, logits.view(), labels.view(), probs.mutable_view(), loss.mutable_view()};
  const op::CrossEntropyBwd bwd{3, 4, 0, probs.view(), labels.view(), gy.view(), gx.mutable_view()};
  CHECK_THROWS_AS(parallel_region([&] { kernels<op::CrossEntropyFwd>().run(fwd, Device::cpu()); }), ValueError);
  CHECK_THROWS_AS(kernels<op::CrossEntropyBwd>().run(bwd, Device::cpu()), ValueError);
  for (const Tensor& t : {probs, loss, gx}) CHECK(std::ranges::count(t.to_vector(), 7.0) == t.numel());
}

TEST_CASE("cross entropy and its gradient keep their digits for predictions that are nearly certain") {
  for (const double smoothing : {0.0, 1e-9})
    for (const DType t : {DType::f32, DType::f64})
      for (const double x : {2.0, 20.0, 40.0}) {
        INFO(name(t) << ' ' << x << ", smoothing " << smoothing);
        Tensor logits = Tensor::empty({1, 2}, t);
        logits.copy_from(Tensor::from<double>({x, 0}, {1, 2}));
        logits.set_requires_grad(true);
        const Tensor loss = cross_entropy(logits, Tensor::from<int64_t>({0}, {1}), {.label_smoothing = smoothing});
        loss.backward();
        const double eps = t == DType::f32 ? 1e-6 : 1e-13, rest = std::exp(-x) / (1 + std::exp(-x));
        CHECK(loss.item() == Approx(std::log1p(std::exp(-x)) + smoothing / 2 * x).epsilon(eps));
        CHECK(logits.grad().to_vector()[0] == Approx(smoothing / 2 - rest).epsilon(eps));
        CHECK(logits.grad().to_vector()[1] == Approx(rest - smoothing / 2).epsilon(eps));
      }
}
