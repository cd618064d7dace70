#include "nn/init.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn;
namespace init = nn::init;

namespace {

struct Statistics {
  double mean = 0, stddev = 0, low = 1e300, high = -1e300;
};

// Of many values drawn for a weight of this shape.
Statistics statistics(const nn::Init& f, const Shape& shape) {
  std::vector<double> v(size_t(numel(shape)));
  Generator g(7);
  f(v, shape, g);
  Statistics s;
  for (const double x : v) {
    s.mean += x / double(v.size());
    s.low = std::min(s.low, x);
    s.high = std::max(s.high, x);
  }
  for (const double x : v) s.stddev += (x - s.mean) * (x - s.mean) / double(v.size());
  s.stddev = std::sqrt(s.stddev);
  return s;
}

// 147,456 values: the standard error of the deviation is sigma / sqrt(2 n) = 0.2%, of the mean sigma / 384.
const Shape kWeight{128, 64, 3, 6};
constexpr double kIn = 64 * 18, kOut = 128 * 18;

void check_normal(const nn::Init& f, double sigma) {
  const Statistics s = statistics(f, kWeight);
  CHECK(std::abs(s.mean) < 5 * sigma / 384);
  CHECK(s.stddev == Approx(sigma).epsilon(0.01));
  CHECK(s.high > 3.5 * sigma);  // a uniform distribution of this deviation ends at 1.73 sigma
  CHECK(s.low < -3.5 * sigma);
}

void check_uniform(const nn::Init& f, double bound) {
  const Statistics s = statistics(f, kWeight);
  CHECK(std::abs(s.mean) < 5 * bound / std::sqrt(3.0) / 384);
  CHECK(s.stddev == Approx(bound / std::sqrt(3.0)).epsilon(0.01));
  CHECK(s.high <= bound);
  CHECK(s.high > 0.999 * bound);
  CHECK(s.low >= -bound);
  CHECK(s.low < -0.999 * bound);
}

}  // namespace

TEST_CASE("fans count the receptive field") {
  CHECK(init::fan_in(kWeight) == int64_t(kIn));
  CHECK(init::fan_out(kWeight) == int64_t(kOut));
  CHECK(init::fan_in({10, 512}) == 512);
  CHECK(init::fan_out({10, 512}) == 10);
  CHECK_THROWS_AS(init::fan_in({10}), ShapeError);
  CHECK_THROWS_AS(init::fan_out({}), ShapeError);
}

TEST_CASE("distributions have the spread that their papers give") {
  check_normal(init::normal(0, 2), 2);
  check_normal(init::kaiming_normal(), std::sqrt(2 / kIn));
  check_normal(init::kaiming_normal(init::Fan::out), std::sqrt(2 / kOut));
  check_normal(init::kaiming_normal(init::Fan::in, 1), std::sqrt(1 / kIn));
  check_normal(init::xavier_normal(), std::sqrt(2 / (kIn + kOut)));
  check_uniform(init::uniform(-3, 3), 3);
  check_uniform(init::kaiming_uniform(), std::sqrt(6 / kIn));
  check_uniform(init::kaiming_uniform(init::Fan::out, 1), std::sqrt(3 / kOut));
  check_uniform(init::xavier_uniform(2), 2 * std::sqrt(6 / (kIn + kOut)));
  check_uniform(init::torch_default(int64_t(kIn)), 1 / std::sqrt(kIn));
}

TEST_CASE("constant and shifted distributions") {
  const Statistics c = statistics(init::constant(0.25), {3, 5});
  CHECK(c.low == 0.25);
  CHECK(c.high == 0.25);
  CHECK(statistics(init::normal(10, 1), kWeight).mean == Approx(10).epsilon(0.01));
  CHECK(statistics(init::uniform(2, 4), kWeight).mean == Approx(3).epsilon(0.01));
}

TEST_CASE("initialisations refuse numbers that make no distribution, and fans that overflow") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(init::constant(nan), ValueError);
  CHECK_THROWS_AS(init::uniform(1, 0), ValueError);
  CHECK_THROWS_AS(init::uniform(0, inf), ValueError);
  CHECK_THROWS_AS(init::normal(0, -1), ValueError);
  CHECK_THROWS_AS(init::normal(nan, 1), ValueError);
  CHECK_THROWS_AS(init::torch_default(-1), ValueError);
  for (const double gain : {nan, inf, -1.0}) {
    CHECK_THROWS_AS(init::kaiming_normal(init::Fan::in, gain), ValueError);
    CHECK_THROWS_AS(init::kaiming_uniform(init::Fan::out, gain), ValueError);
    CHECK_THROWS_AS(init::xavier_normal(gain), ValueError);
    CHECK_THROWS_AS(init::xavier_uniform(gain), ValueError);
  }
  constexpr int64_t big = int64_t{1} << 40;
  CHECK_THROWS_AS(init::fan_in({1, big, big}), ShapeError);
  CHECK_THROWS_AS(init::fan_out({1, big, big}), ShapeError);
}

TEST_CASE("initial values are finite in the parameters' dtype") {
  nn::ParamStore single, wide(Device::cpu(), 1, DType::f64);
  for (const auto& [name, f] : {std::pair{"constant", init::constant(1e300)},
                                {"uniform", init::uniform(1e39, 2e39)},
                                {"normal", init::normal(1e300, 1)},
                                {"kaiming", init::kaiming_uniform(init::Fan::in, 1e300)}}) {
    INFO(name);
    CHECK_THROWS_WITH(single.root().parameter(name, {2, 3}, f), Catch::Contains("\"" + std::string(name) + "\""));
    CHECK_NOTHROW(wide.root().parameter(name, {2, 3}, f));
  }
  CHECK(single.all().empty());
  CHECK_THROWS_AS(single.root().buffer("b", {2}, 1e300), ValueError);
  CHECK_THROWS_AS(init::uniform(-1.7e308, 1.7e308), ValueError);
  CHECK_THROWS_AS(wide.root().parameter("n", {50}, init::normal(1.7e308, 1.7e308)), ValueError);
}

TEST_CASE("a number that is no fan is refused") {
  CHECK_THROWS_AS(init::kaiming_normal(init::Fan(7)), ValueError);
  CHECK_THROWS_AS(init::kaiming_uniform(init::Fan(7)), ValueError);
}
