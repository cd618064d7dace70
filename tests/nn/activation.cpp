#include "nn/activation.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

double at(nn::Module& m, double x) { return m(Tensor::full({1}, x, DType::f64)).item(); }

}  // namespace

TEST_CASE("activation modules apply their functions") {
  nn::ReLU relu;
  nn::ReLU6 relu6;
  nn::Sigmoid sigmoid;
  nn::Tanh tanh;
  nn::GELU gelu;
  nn::SiLU silu;
  CHECK(at(relu, -2) == 0);
  CHECK(at(relu, 8) == 8);
  CHECK(at(relu6, 8) == 6);
  CHECK(at(relu6, -1) == 0);
  CHECK(at(sigmoid, 0.5) == Approx(1 / (1 + std::exp(-0.5))));
  CHECK(at(tanh, 0.5) == Approx(std::tanh(0.5)));
  CHECK(at(gelu, 0.5) == Approx(0.5 * 0.5 * (1 + std::erf(0.5 / std::sqrt(2)))));
  CHECK(at(silu, 0.5) == Approx(0.5 / (1 + std::exp(-0.5))));
}

TEST_CASE("Dropout drops in training only and repeats with its generator") {
  nn::ParamStore params;
  nn::Dropout drop(params.root() / "drop", 0.25);
  const Tensor x = Tensor::full({10000}, 3);
  manual_seed(5);
  const auto first = drop(x).to_vector();
  const auto dropped = double(std::count(first.begin(), first.end(), 0.0));
  CHECK(dropped == Approx(2500).epsilon(0.1));  // five standard deviations are 8.7%
  CHECK(*std::max_element(first.begin(), first.end()) == 4);
  CHECK(drop(x).to_vector() != first);
  manual_seed(5);
  CHECK(drop(x).to_vector() == first);

  params.train(false);
  CHECK(drop(x).to_vector() == x.to_vector());
  CHECK_THROWS_AS(nn::Dropout(params.root() / "d", 1), ValueError);
}
