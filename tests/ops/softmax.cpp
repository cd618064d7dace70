#include "ops/softmax.h"

#include <cmath>

#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;

TEST_CASE("softmax is exp over its sum along the dimension, log_softmax its logarithm") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  for (int i = 0; i < 60; ++i) {
    const DType dtype = i % 3 == 0 ? DType::f64 : i % 3 == 1 ? DType::f32 : DType::bf16;
    Shape s = random.shape();
    s = s.rank() == 0 ? Shape{3} : s;
    const int dim = int(random.between(-s.rank(), s.rank() - 1)), d = dim < 0 ? dim + s.rank() : dim;
    const Tensor x = random.tensor(s, dtype);
    INFO(s << " dim " << dim << ' ' << name(dtype));
    const auto xv = x.to_vector(), y = softmax(x, dim).to_vector(), log_y = log_softmax(x, dim).to_vector();
    REQUIRE(y.size() == xv.size());
    int64_t inner = 1;
    for (int k = d + 1; k < s.rank(); ++k) inner *= s[k];
    std::vector<double> sums(xv.size());
    const auto line = [&](size_t j) { return int64_t(j) / (inner * s[d]) * inner * s[d] + int64_t(j) % inner; };
    for (size_t j = 0; j < xv.size(); ++j) sums[size_t(line(j))] += std::exp(xv[j]);
    for (size_t j = 0; j < xv.size(); ++j) {
      const double expected = std::exp(xv[j]) / sums[size_t(line(j))], eps = 4 * unit_roundoff(dtype);
      CHECK(y[j] == Approx(expected).epsilon(eps + 1e-12));
      CHECK(log_y[j] == Approx(std::log(expected)).epsilon(eps + 1e-12).margin(1e-12));
    }
  }
}

TEST_CASE("softmax survives numbers whose exponential does not") {
  const Tensor x = Tensor::from<float>({1000, 999, -1000, -1001}, {2, 2});
  const auto y = softmax(x, 1).to_vector(), log_y = log_softmax(x, 1).to_vector();
  for (const size_t i : {0, 2}) {
    CHECK(y[i] == Approx(1 / (1 + std::exp(-1.0))));
    CHECK(log_y[i] == Approx(-std::log1p(std::exp(-1.0))));
  }
  CHECK(log_softmax(Tensor::from<float>({0, -500}, {2}), 0).to_vector()[1] == Approx(-500));
}

TEST_CASE("softmax names what does not fit") {
  CHECK_THROWS_AS(softmax(Tensor::zeros({2, 3}), 2), ShapeError);
  CHECK_THROWS_AS(log_softmax(Tensor::zeros({}), 0), ShapeError);
  CHECK_THROWS_AS(softmax(Tensor::zeros({2}, DType::i64), 0), DTypeError);
}

TEST_CASE("softmax and its gradients keep their digits where one probability is nearly 1") {
  for (const DType t : {DType::f32, DType::f64})
    for (const double x : {2.0, 20.0, 40.0}) {
      INFO(name(t) << ' ' << x);
      const double small = std::exp(-x) / (1 + std::exp(-x)), slope = small / (1 + std::exp(-x));
      const double eps = t == DType::f32 ? 1e-6 : 1e-13;
      const auto gradient = [&](auto op, double g0, double g1) {
        Tensor in = Tensor::empty({2}, t);
        in.copy_from(Tensor::from<double>({x, 0}, {2}));
        in.set_requires_grad(true);
        Tensor gy = Tensor::empty({2}, t);
        gy.copy_from(Tensor::from<double>({g0, g1}, {2}));
        op(in, 0).backward(gy);
        return in.grad().to_vector();
      };
      for (const auto& [g0, g1] : {std::pair{1.0, 0.0}, {1.0, 3.0}}) {
        const auto g = gradient(softmax, g0, g1);
        CHECK(g[0] == Approx(slope * (g0 - g1)).epsilon(eps));
        CHECK(g[1] == Approx(slope * (g1 - g0)).epsilon(eps));
      }
      const auto g = gradient(log_softmax, 1, 0);
      CHECK(g[0] == Approx(small).epsilon(eps));
      CHECK(g[1] == Approx(-small).epsilon(eps));
      Tensor in = Tensor::empty({2}, t);
      in.copy_from(Tensor::from<double>({x, 0}, {2}));
      CHECK(log_softmax(in, 0).to_vector()[0] == Approx(-std::log1p(std::exp(-x))).epsilon(eps));
    }
}
