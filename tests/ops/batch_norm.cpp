#include "ops/batch_norm.h"

#include <limits>

#include "core/autograd.h"
#include "ops/conv2d.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;
using Catch::Contains;

namespace {

struct Parameters {
  Tensor gamma, beta, mean, var;

  explicit Parameters(int64_t c, DType dtype = DType::f32)
      : gamma(Tensor::full({c}, 1, dtype)),
        beta(Tensor::zeros({c}, dtype)),
        mean(Tensor::zeros({c}, dtype)),
        var(Tensor::full({c}, 1, dtype)) {}
  Tensor operator()(const Tensor& x, const BatchNormOptions& o) { return batch_norm(x, gamma, beta, mean, var, o); }
};

}  // namespace

TEST_CASE("training gives every channel mean 0 and variance 1, whatever the layout") {
  RandomTensors random(test_seed());
  for (const Shape& shape : {Shape{4, 19, 5, 3}, Shape{40, 7}})
    for (int i = 0; i < 5; ++i) {
      const Tensor x = random.tensor(shape, DType::f64);
      if (x.strides()[0] == 0 || x.strides()[1] == 0) continue;  // an expanded operand may be constant
      Parameters p(shape[1], DType::f64);
      const Tensor y = p(x, {.training = true, .eps = 0});
      CHECK(y.shape() == shape);
      const Tensor channels = reshape(transpose(y, 0, 1), {shape[1], -1});
      const Tensor mean_y = mean(channels, {1});
      for (const double v : mean_y.to_vector()) CHECK(v == Approx(0).margin(1e-9));
      const auto m = reference::moments(channels.size(1), shape[1], transpose(channels, 0, 1).to_vector());
      for (const double v : m.var) CHECK((v == Approx(1) || v == 0));
    }
}

TEST_CASE("the running statistics move by the momentum, the variance unbiased, and are written only by training") {
  Parameters p(1);
  const Tensor x = Tensor::from<float>({1, 2, 3, 6}, {4, 1});  // mean 3, unbiased variance 14/3
  const uint64_t version = p.mean.storage()->version();
  p(x, {.training = true, .momentum = 0.25});
  CHECK(p.mean.item() == Approx(0.75));
  CHECK(p.var.item() == Approx(0.75 + 0.25 * 14 / 3));
  CHECK(p.mean.storage()->version() > version);

  const uint64_t trained = p.mean.storage()->version();
  const auto y = p(x, {.training = false}).to_vector();
  CHECK(p.mean.storage()->version() == trained);
  CHECK(y[3] == Approx((6 - 0.75) / std::sqrt(0.75 + 3.5 / 3 + 1e-5)));
}

TEST_CASE("running statistics that were written before backward are refused in evaluation mode") {
  RandomTensors random(test_seed());
  Tensor x = random.away_from_zero({4, 3}, 0.1, 1).clone();
  Tensor leaf = Tensor::full({4, 3}, 0.5);
  leaf.set_requires_grad(true);
  Parameters p(3);
  const Tensor y = p(leaf, {.training = false});
  p(leaf.detach(), {.training = true});
  CHECK_THROWS_AS(y.backward(Tensor::full({4, 3}, 1)), AutogradError);
}

TEST_CASE("evaluation equals a convolution with the norm folded into its weights") {
  RandomTensors random(test_seed());
  const Tensor x = random.away_from_zero({2, 3, 6, 6}, 0, 1), w = random.away_from_zero({4, 3, 3, 3}, 0, 1);
  const auto vector = [&](double low, double high, bool positive) {
    return random.away_from_zero({4}, low, high, positive);
  };
  Parameters p(4, x.dtype());
  p.gamma = vector(0.5, 2, false), p.beta = vector(0.5, 2, false), p.mean = vector(0, 1, false),
  p.var = vector(0.5, 2, true);
  const auto expected = p(conv2d(x, w, {}), {.training = false}).to_vector();

  std::vector<double> folded = w.to_vector(), bias = p.beta.to_vector();
  const auto gamma = p.gamma.to_vector(), mu = p.mean.to_vector(), var = p.var.to_vector();
  for (size_t o = 0; o < 4; ++o) {
    const double scale = gamma[o] / std::sqrt(var[o] + 1e-5);
    for (size_t i = 0; i < 27; ++i) folded[o * 27 + i] *= scale;
    bias[o] -= mu[o] * scale;
  }
  Tensor fw = Tensor::empty(w.shape(), x.dtype()), fb = Tensor::empty({4}, x.dtype());
  fw.copy_from(Tensor::from(folded, w.shape()));
  fb.copy_from(Tensor::from(bias, {4}));
  const auto got = conv2d(x, fw, fb).to_vector();
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(expected[i]).margin(1e-5));
}

TEST_CASE("bf16 batches keep f32 statistics") {
  RandomTensors random(test_seed());
  Parameters p(5);
  const Tensor y = p(random.tensor({8, 5, 2, 2}, DType::bf16), {.training = true});
  CHECK(y.dtype() == DType::bf16);
  CHECK(p.mean.dtype() == DType::f32);
}

TEST_CASE("batch_norm names what does not fit") {
  const auto run = [](const Shape& x, int64_t c, bool training = true, DType dtype = DType::f32) {
    Parameters p(c);
    return p(Tensor::zeros(x, dtype), {.training = training});
  };
  CHECK_THROWS_WITH(run({2, 3, 4, 4}, 5), Contains("batch_norm") && Contains("gamma") && Contains("[5]"));
  CHECK_THROWS_AS(run({2, 3, 4}, 3), ShapeError);
  CHECK_THROWS_AS(run({1, 3}, 3), ShapeError);  // no variance of one value
  CHECK_NOTHROW(run({1, 3}, 3, false));
  CHECK_NOTHROW(run({0, 3}, 3, false));
  CHECK_THROWS_AS(run({4, 3}, 3, true, DType::f64), DTypeError);
  CHECK_THROWS_AS(run({4, 3}, 3, true, DType::i32), DTypeError);
}

TEST_CASE("batch_norm refuses absurd options, and running tensors that share memory") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::zeros({4, 3});
  Parameters p(3);
  for (const bool training : {true, false}) {
    for (const double eps : {nan, inf, -1e-5, 1e-50, 1e39})
      CHECK_THROWS_AS(p(x, {.training = training, .eps = eps}), ValueError);
    for (const double momentum : {nan, inf, -0.1, 1.5})
      CHECK_THROWS_AS(p(x, {.training = training, .momentum = momentum}), ValueError);
  }
  p.var = p.mean;
  CHECK_THROWS_AS(p(x, {.training = true}), ValueError);
  CHECK_NOTHROW(p(x, {.training = false}));
}
