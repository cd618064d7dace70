#include "quant/weights/quantized_weight.h"

#include <cmath>
#include <limits>

#include "quant/weights/nearest.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;

namespace {

QWeights rounded(const std::vector<double>& w, const Shape& shape, const std::vector<double>& least_scale,
                 bool per_channel) {
  return quantize_weights("layer", w, shape, least_scale, per_channel, nearest);
}

}  // namespace

TEST_CASE("weights use all of -127..127 in each channel and never -128") {
  const std::vector<double> w{-2, 1, 0.5, 0, 0, 0, 1e-3, -1e-3, 2e-4};
  const QWeights q = rounded(w, {3, 3}, {0, 0, 0}, true);
  CHECK(q.codes.to_vector() == std::vector<double>{-127, 64, 32, 0, 0, 0, 127, -127, 25});
  CHECK(q.scale[0] == Approx(2.0 / 127));
  CHECK(q.scale[1] == 1);  // nothing to scale
  const QWeights whole = rounded(w, {3, 3}, {0, 0, 0}, false);
  CHECK(whole.scale == std::vector<double>(3, whole.scale[0]));
  CHECK(whole.codes.to_vector() == std::vector<double>{-127, 64, 32, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("a channel's scale can be bounded from below; weights must be finite") {
  const QWeights q = rounded({1, 1}, {2, 1}, {0.5, 0}, true);
  CHECK(q.scale[0] == 0.5);
  CHECK(q.codes.to_vector() == std::vector<double>{2, 127});
  CHECK_THROWS_AS(rounded({NAN, 1}, {2, 1}, {0, 0}, true), ValueError);
  CHECK_THROWS_AS(rounded({1, 1, 1}, {2, 1}, {0, 0}, true), ShapeError);
  CHECK_THROWS_AS(rounded({1, 1}, {2, 1}, {0}, true), ShapeError);
}

TEST_CASE("tiny and huge weights have scales of their own") {
  for (const double unit : {1e-35, 1e-13, 1e38}) {
    INFO(unit);
    const QWeights q = rounded({0.5 * unit, -2 * unit, 0, 0}, {2, 2}, {0, 0}, true);
    CHECK(q.codes.to_vector() == std::vector<double>{32, -127, 0, 0});
    CHECK(q.scale[0] == Approx(2 * unit / 127));
    CHECK(q.scale[1] == 1);
  }
  CHECK_THROWS_AS(rounded({1e-40, -1e-39}, {2, 1}, {0, 0}, true), ValueError);
  CHECK_THROWS_AS(rounded({1, 1e300}, {2, 1}, {0, 0}, true), ValueError);
  // A channel that has died beside another one.
  const QWeights q = rounded({1, 1e-42}, {2, 1}, {0, 0}, true);
  CHECK(q.codes.to_vector() == std::vector<double>{127, 0});
  CHECK(std::isnormal(float(q.scale[1])));
}

TEST_CASE("a channel without weights needs no grid, however small its bias") {
  const QWeights q = rounded({0, 0}, {2, 1}, {1e-51, 0}, true);
  CHECK(q.codes.to_vector() == std::vector<double>{0, 0});
  for (const double s : q.scale) CHECK(std::isnormal(float(s)));
}

TEST_CASE("a rounder chooses the codes on the grid that it is told, and others than codes are refused") {
  const auto with = [](const Rounder& round) {
    return quantize_weights("conv1", {1, 0.3, -2, 0}, {2, 2}, {0, 0}, true, round);
  };
  const QWeights down = with([](const WeightGrid& g) {
    CHECK(g.layer == "conv1");
    CHECK(g.shape == Shape{2, 2});
    CHECK(g.scale[1] == double(float(2.0 / 127)));
    Tensor codes = nearest(g);
    for (int8_t& c : codes.mutable_data<int8_t>()) c = int8_t(c / 2);
    return codes;
  });
  CHECK(down.codes.to_vector() == std::vector<double>{63, 19, -63, 0});
  CHECK_THROWS_WITH(with([](const WeightGrid&) { return Tensor(); }), Catch::Contains("conv1"));
  CHECK_THROWS_AS(with([](const WeightGrid& g) { return Tensor::full(g.shape, -128, DType::i8); }), ValueError);
  CHECK_THROWS_AS(with([](const WeightGrid& g) { return Tensor::full(g.shape, 1); }), ValueError);
  CHECK_THROWS_AS(with([](const WeightGrid&) { return Tensor::full({4}, 1, DType::i8); }), ValueError);
}
