#include "quant/int8_model.h"

#include <limits>

#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;

TEST_CASE("border classes tell apart which taps fall on padding") {
  const Conv2dGeometry g = Conv2dGeometry::make("t", {1, 1, 5, 4}, {1, 1, 3, 3}, {.padding = 1});
  const BorderClasses b = border_classes(g);
  CHECK(b.count() == 9);
  CHECK(b.row == std::vector<int32_t>{0, 3, 3, 3, 6});
  CHECK(b.col == std::vector<int32_t>{0, 1, 1, 2});
  CHECK(b.row_taps[0] == std::vector<bool>{false, true, true});
  CHECK(b.col_taps[2] == std::vector<bool>{true, true, false});
}

TEST_CASE("border classes with stride, dilation and wide padding") {
  const Conv2dGeometry g =
      Conv2dGeometry::make("t", {1, 1, 9, 9}, {1, 1, 3, 3}, {.stride = {2, 1}, .padding = {1, 0}, .dilation = {2, 1}});
  const BorderClasses b = border_classes(g);
  CHECK(b.col_taps.size() == 1);
  for (int64_t oh = 0; oh < g.oh; ++oh)
    for (int64_t t = 0; t < 3; ++t) {
      const int64_t ih = oh * 2 - 1 + t * 2;
      CHECK(b.row_taps[size_t(b.row[size_t(oh)])][size_t(t)] == (ih >= 0 && ih < 9));
    }
  CHECK(border_classes(Conv2dGeometry::make("t", {1, 1, 4, 4}, {1, 1, 1, 1}, {})).count() == 1);
}

TEST_CASE("a model that is inconsistent does not validate") {
  const Int8Model good = calibrated(residual(1), 1, true).compile().model();
  CHECK_NOTHROW(good.validate());
  const auto breaks = [&](auto change) {
    Int8Model m = good;
    change(m);
    CHECK_THROWS_AS(m.validate(), Error);
  };
  const auto conv = [](Int8Model& m, size_t i) -> Int8Conv& { return std::get<Int8Conv>(m.steps[i].body); };
  const auto with = [](const Tensor& t, auto value, size_t at) {
    Tensor copy = t.clone();
    copy.mutable_data<decltype(value)>()[at] = value;
    return copy;
  };
  breaks([](Int8Model& m) { m.values.clear(); });
  breaks([](Int8Model& m) { m.values[1].c = 0; });
  breaks([](Int8Model& m) { m.values[1].h = int64_t(1) << 40; });
  breaks([](Int8Model& m) { m.values[1].q.zero_point = 256; });
  breaks([](Int8Model& m) { m.values[1].q.scale = 0; });
  breaks([](Int8Model& m) { m.values[1].q.scale = std::numeric_limits<float>::quiet_NaN(); });
  breaks([](Int8Model& m) { m.values[0].q.scale = 2; });  // a raw image
  breaks([](Int8Model& m) { m.steps[1].inputs = {99}; });
  breaks([](Int8Model& m) { m.steps[1].inputs = {-1}; });
  breaks([](Int8Model& m) { m.steps[1].inputs = {}; });
  breaks([](Int8Model& m) { m.steps[0].inputs = {3}; });  // not made yet
  breaks([](Int8Model& m) { m.steps[1].output = m.steps[0].output; });
  breaks([](Int8Model& m) { m.steps[1].name = m.steps[0].name; });
  breaks([](Int8Model& m) { m.output = 1000; });
  breaks([](Int8Model& m) {
    m.output = 1;
    m.steps.back().output = int(m.values.size());
  });
  breaks([](Int8Model& m) { m.normalization->std[1] = 0; });
  breaks([](Int8Model& m) { m.normalization->mean.pop_back(); });
  breaks([](Int8Model& m) { m.flat_input = true; });
  breaks([&](Int8Model& m) { conv(m, 0).options.stride = 0; });
  breaks([&](Int8Model& m) { conv(m, 0).options.groups = 5; });
  breaks([&](Int8Model& m) { conv(m, 0).options.padding = 2; });
  breaks([&](Int8Model& m) { conv(m, 0).weight = Tensor(); });
  breaks([&](Int8Model& m) { conv(m, 0).weight = with(conv(m, 0).weight, int8_t(-128), 5); });
  breaks([&](Int8Model& m) { conv(m, 0).weight_scale = with(conv(m, 0).weight_scale, -1.0f, 2); });
  breaks([&](Int8Model& m) { conv(m, 0).bias = Tensor::zeros({2, 8}, DType::i32); });
  breaks([&](Int8Model& m) { conv(m, 0).bias = Tensor::zeros({1, 8}, DType::f32); });
  breaks([&](Int8Model& m) { conv(m, 0).hi = 300; });
  breaks([&](Int8Model& m) { conv(m, 0).lo = 7; });  // above the zero point
  breaks([&](Int8Model& m) { std::get<Int8Linear>(m.steps.back().body).weight = Tensor::zeros({10, 17}, DType::i8); });
  breaks([](Int8Model& m) { m.steps.back().body = Int8MaxPool{}; });
}

TEST_CASE("multiply-accumulates and weights are counted per step") {
  const Int8Model m = calibrated(residual(1), 1, false).compile().model();
  CHECK(macs(m, m.steps[0]) == 81 * 8 * 27);
  CHECK(m.steps[0].weight_count() == 8 * 27);
  CHECK(m.steps.back().weight_count() == 180);
  int64_t sum = 0;
  for (const Int8Step& s : m.steps) sum += macs(m, s);
  CHECK(sum == m.graph_macs);
}
