#include "ops/batch_norm.h"

#include <limits>

#include "core/autograd.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
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

namespace {

// What relu(batch_norm(x) + residual) leaves: the result, gradients of all operands, running statistics.
std::vector<std::vector<double>> results(bool fused, const Tensor& x, const Tensor& residual, const Tensor& gy) {
  const int64_t c = x.size(1);
  const DType statistics = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Parameters p(c, statistics);
  RandomTensors random(7);
  p.gamma = random.away_from_zero({c}, 0.5, 2).clone();
  p.beta = random.away_from_zero({c}, 0.1, 1).clone();
  if (p.gamma.dtype() != statistics) p = Parameters(c, statistics);
  std::vector<Tensor> leaves{x.clone(), p.gamma, p.beta};
  if (residual) leaves.push_back(residual.clone());
  for (Tensor& t : leaves) t.set_requires_grad(true);
  const Tensor added = residual ? leaves[3] : Tensor();
  const BatchNormOptions o{.training = true};
  const auto plain = [&] {
    const Tensor y = batch_norm(leaves[0], p.gamma, p.beta, p.mean, p.var, o);
    return relu(residual ? y + added : y);
  };
  const Tensor y = fused ? batch_norm_relu(leaves[0], p.gamma, p.beta, p.mean, p.var, added, o) : plain();
  y.backward(gy);
  std::vector<std::vector<double>> all{y.to_vector(), p.mean.to_vector(), p.var.to_vector()};
  for (const Tensor& t : leaves) all.push_back(t.grad().to_vector());
  return all;
}

}  // namespace

TEST_CASE("batch_norm_relu is batch_norm, addition and relu, and so are its gradients") {
  Generator random(test_seed());
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16})
    for (const Shape& shape : {Shape{4, 19, 5, 3}, Shape{40, 7}})
      for (const bool adds : {false, true}) {
        const Tensor x = random_tensor(shape, random, dtype), gy = random_tensor(shape, random, dtype);
        const Tensor residual = adds ? random_tensor(shape, random, dtype) : Tensor();
        const auto fused = results(true, x, residual, gy), plain = results(false, x, residual, gy);
        INFO(name(dtype) << ' ' << shape << (adds ? " with residual" : ""));
        REQUIRE(fused.size() == plain.size());
        // On average: where bf16 rounds the sum to one side of 0 or the other, a gradient is there or not.
        const double digits = dtype == DType::bf16 ? 0.02 : dtype == DType::f32 ? 1e-6 : 1e-14;
        for (size_t i = 0; i < fused.size(); ++i) {
          double scale = 0, error = 0;
          for (size_t j = 0; j < plain[i].size(); ++j) {
            scale += std::abs(plain[i][j]);
            error += std::abs(fused[i][j] - plain[i][j]);
          }
          CHECK(error <= digits * scale);
        }
      }
}

TEST_CASE("in training the result of batch_norm_relu is not kept, but made again to the same bits") {
  Generator random(test_seed());
  Parameters p(8);
  const Tensor x = random_tensor({2, 8, 4, 4}, random).set_requires_grad(true);
  Tensor w = random_tensor({3, 8, 3, 3}, random).set_requires_grad(true);
  const auto network = [&](bool fused) {
    const Tensor a = batch_norm(x, p.gamma, p.beta, p.mean, p.var, {.training = true});
    const Tensor y = fused ? batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, x, {.training = true}) : relu(a + x);
    return std::pair(conv2d(y, w, {}, {.padding = 1}), std::weak_ptr(y.storage()));
  };
  const auto [fused, fused_input] = network(true);
  const auto [plain, plain_input] = network(false);
  CHECK(fused_input.expired());
  CHECK_FALSE(plain_input.expired());
  const Tensor gy = random_tensor(fused.shape(), random);
  fused.backward(gy);
  const auto from_recipe = w.grad().to_vector();
  w.set_grad({});
  plain.backward(gy);
  CHECK(w.grad().to_vector() == from_recipe);
}

TEST_CASE("after backward a result of batch_norm_relu that is kept holds nothing of what it was made from") {
  Generator random(test_seed());
  Parameters p(8);
  Tensor w = random_tensor({8, 3, 3, 3}, random).set_requires_grad(true);
  std::weak_ptr<Storage> operand;
  Tensor y;
  {
    const Tensor x = conv2d(random_tensor({2, 3, 6, 6}, random), w, {});
    operand = x.storage();
    y = batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, {}, {.training = true});
  }
  CHECK_FALSE(operand.expired());
  y.backward(random_tensor(y.shape(), random));
  CHECK(operand.expired());
}

TEST_CASE("in evaluation batch_norm_relu is the plain ops, and refuses what batch_norm refuses") {
  Generator random(test_seed());
  Parameters p(3);
  const Tensor x = random_tensor({2, 3, 4, 4}, random);
  const auto plain = relu(p(x, {}) + x).to_vector();
  CHECK(batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, x, {}).to_vector() == plain);
  for (const bool training : {false, true}) {
    const BatchNormOptions o{.training = training};
    CHECK_THROWS_AS(batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, Tensor::zeros({2, 3, 4, 5}), o), ShapeError);
    CHECK_THROWS_AS(batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, Tensor::zeros({1, 3, 1, 1}), o), ShapeError);
    CHECK_THROWS_WITH(batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, cast(x, DType::f64), o),
                      Contains("residual must be f32 like x"));
    CHECK_THROWS_AS(batch_norm_relu(x, p.gamma, p.beta, p.mean, p.var, cast(x, DType::f64), o), DTypeError);
    CHECK_THROWS_AS(batch_norm_relu(x, Tensor::zeros({5}), p.beta, p.mean, p.var, x, o), ShapeError);
  }
  const Tensor flat = Tensor::zeros({3, 3});
  Tensor row = flat.as_strided({3}, {1});
  CHECK_THROWS_AS(batch_norm_relu(Tensor::zeros({3, 3}), p.gamma, p.beta, row, p.var, flat, {.training = true}),
                  ValueError);
}
