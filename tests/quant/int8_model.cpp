#include "quant/int8_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;

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
  breaks([](Int8Model& m) { m.values[1].kind = Int8Value::Kind(9); });
  for (const char* bad :
       {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"}) {
    breaks([&](Int8Model& m) { m.steps[0].name = bad; });
    breaks([&](Int8Model& m) { m.steps[0].op = bad; });
    breaks([&](Int8Model& m) { m.values[0].name = bad; });
    breaks([&](Int8Model& m) { m.calibration["note"] = bad; });
    breaks([&](Int8Model& m) { m.calibration[bad] = ""; });
  }
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
  breaks([](Int8Model& m) { m.values.push_back({.name = "made by nobody", .c = 1}); });
  breaks([](Int8Model& m) { m.values.back().kind = Int8Value::Kind::codes; });
  breaks([&](Int8Model& m) { conv(m, 0).bias = with(conv(m, 0).bias, INT32_MAX, 3); });
  breaks([&](Int8Model& m) {
    Tensor& bias = std::get<Int8Linear>(m.steps.back().body).bias;
    bias = with(bias, INT32_MIN, 3);
  });
  breaks([&](Int8Model& m) {  // 3e38 * 3e38
    m.values[1].q.scale = 3e38f;
    conv(m, 1).weight_scale = Tensor::full({8}, 3e38);
  });
  breaks([](Int8Model& m) { m.steps.resize(m.steps.size() + (1 << 13)); });
}

namespace {

// One step on [3,h,w] codes.
Int8Model single(int64_t h, int64_t w, auto body, Int8Value y) {
  Int8Model m;
  m.values = {{.name = "x", .c = 3, .h = h, .w = w}, std::move(y)};
  Int8Step s;
  s.name = "step";
  s.inputs = {0};
  s.output = 1;
  s.body = std::move(body);
  m.steps = {std::move(s)};
  m.output = 1;
  return m;
}
Int8Value codes(int64_t h, int64_t w) { return {.name = "y", .c = 3, .h = h, .w = w}; }
Int8Value reals(int64_t h, int64_t w) { return {.name = "y", .kind = Int8Value::Kind::real, .c = 3, .h = h, .w = w}; }

Int8Conv depthwise(int64_t kh, int64_t kw, const Conv2dParams& o) {
  return {o, Tensor::full({3, 1, kh, kw}, 1, DType::i8), Tensor::full({3}, 1), Tensor::zeros({1, 3}, DType::i32)};
}

// The first step again, with a result of its own.
void repeat_step(Int8Model& m) {
  m.values.push_back(m.values[1]);
  m.steps.push_back(m.steps[0]);
  m.steps.back().name += message(m.steps.size());
  m.steps.back().output = int(m.values.size()) - 1;
}

}  // namespace

TEST_CASE("what forward() relies on is checked before") {
  const auto good = [](const Int8Model& m) { CHECK_NOTHROW(m.validate()); };
  const auto bad = [](const Int8Model& m) { CHECK_THROWS_AS(m.validate(), Error); };
  good(single(9, 9, Int8MaxPool{{3, 2, 1}}, codes(5, 5)));
  bad(single(9, 9, Int8MaxPool{{3, 2, 1}}, codes(5, 6)));
  bad(single(9, 9, Int8MaxPool{{3, 2, 3}}, codes(7, 7)));  // windows of padding alone
  bad(single(2, 9, Int8MaxPool{{5, 1, 1}}, codes(1, 5)));
  bad(single(9, 9, Int8AvgPool{{3, 2, 1}}, codes(9, 9)));
  good(single(9, 9, Int8AvgPool{{3, 2, 1}}, reals(5, 5)));
  bad(single(9, 9, Int8AvgPool{{3, 2, 1}}, reals(5, 4)));
  bad(single(4096, 4096, Int8AvgPool{{4096, 4096}}, codes(1, 1)));  // the sum of a window
  good(single(2, 2, RealUnary{"relu"}, reals(2, 2)));
  bad(single(2, 2, RealUnary{"relu"}, codes(2, 2)));
  bad(single(2, 2, RealUnary{"relu"}, reals(2, 3)));
  bad(single(2, 2, RealUnary{"cosh"}, reals(2, 2)));
  bad(single(2, 2, RealUnary{"mul_scalar", NAN}, reals(2, 2)));
  bad(single(2, 2, Int8Lut{Tensor::zeros({256}, DType::u8)}, reals(2, 2)));
  Int8Value sums = codes(4096, 4096);
  sums.kind = Int8Value::Kind::sums;
  Int8Model m = single(4096, 4096, Int8GlobalSum{}, sums);
  m.values.push_back(reals(1, 1));
  m.steps.push_back(m.steps[0]);
  m.steps[1].name = "fc";
  m.steps[1].inputs = {1};
  m.steps[1].output = m.output = 2;
  m.steps[1].body = Int8Linear{Tensor::zeros({3, 3}, DType::i8), Tensor::full({3}, 1), Tensor::zeros({3}, DType::i32)};
  bad(m);  // 255 * 4096 * 4096 is more than 2^31
  for (const size_t i : {0, 1}) m.values[i].h = m.values[i].w = 64;
  good(m);

  const auto twice = [](auto body, Int8Value second, Int8Value y) {
    Int8Model m = single(2, 2, body, std::move(y));
    m.values.push_back(std::move(second));
    m.steps[0].inputs = {0, 2};
    m.steps[0].output = 1;
    Int8Step made;
    made.name = "made";
    made.inputs = {0};
    made.output = 2;
    const QPoolWindow window = m.values[2].h == 1 ? QPoolWindow{{2, m.values[2].w == 1 ? 2 : 1}, 2, 0} : QPoolWindow{};
    made.body = Int8AvgPool{window};
    m.steps.insert(m.steps.begin(), made);
    return m;
  };
  good(twice(Int8Mul{}, codes(2, 2), codes(2, 2)));
  good(twice(Int8Mul{}, codes(1, 1), codes(2, 2)));
  bad(twice(Int8Mul{}, codes(2, 2), reals(2, 2)));
  bad(twice(Int8Mul{}, codes(2, 2), codes(1, 1)));
  bad(twice(Int8Mul{5, 3}, codes(2, 2), codes(2, 2)));
  bad(single(2, 2, Int8Mul{}, codes(2, 2)));
  Int8Value joined = codes(2, 2);
  joined.c = 6;
  good(twice(Int8Cat{}, codes(2, 2), joined));
  bad(twice(Int8Cat{}, codes(2, 2), codes(2, 2)));
  bad(twice(Int8Cat{}, codes(1, 1), joined));
  joined.kind = Int8Value::Kind::real;
  bad(twice(Int8Cat{}, codes(2, 2), joined));
  good(single(2, 2, Int8Cat{}, codes(2, 2)));
  Int8Model none = single(2, 2, Int8Cat{}, codes(2, 2));
  none.steps[0].inputs = {};
  bad(none);
  for (const double value : {1e39, std::numeric_limits<double>::infinity()})
    bad(single(2, 2, RealUnary{"add", value}, reals(2, 2)));  // no f32
  Int8Model flat = single(2, 2, RealUnary{"relu"}, reals(2, 2));
  flat.flat_output = true;
  bad(flat);
  Int8Model image = single(2, 2, Int8MaxPool{{2, 2}}, codes(1, 1));
  image.normalization = ImageNormalization{{0, 0, 0}, {1, 1, 1}};
  bad(image);  // its bytes are no numbers of the network
}

TEST_CASE("work that a small file may describe is limited") {
  CHECK_NOTHROW(single(1, 1, depthwise(1, 1000, {.padding = {0, 1000}, .groups = 3}), codes(1, 1002)).validate());
  CHECK_THROWS_AS(single(1, 1, depthwise(1, 1, {.padding = 4096, .groups = 3}), codes(8193, 8193)).validate(),
                  ValueError);
  // 2^24 pixels of 3 products each, with 2^17 taps.
  CHECK_THROWS_AS(
      single(1, 1 << 17, depthwise(1, 1 << 17, {.padding = {63, 1 << 16}, .groups = 3}), codes(127, (1 << 17) + 1))
          .validate(),
      ValueError);
  CHECK_THROWS_WITH(single(4095, 4095, Int8MaxPool{{2048, 1, 0}}, codes(2048, 2048)).validate(),
                    Catch::Contains("windows of its pools hold more than"));
  // Pools within the limit each: 3 * 513 * 513 windows of 64 * 64 numbers.
  Int8Model pools = single(576, 576, Int8MaxPool{{64, 1, 0}}, codes(513, 513));
  CHECK_NOTHROW(pools.validate());
  repeat_step(pools);
  CHECK_NOTHROW(pools.validate());
  repeat_step(pools);
  CHECK_THROWS_WITH(pools.validate(), Catch::Contains("windows of its pools hold more than"));
}

TEST_CASE("convolutions that only the reference kernel takes may be less work") {
  // 3 * 2^20 pixels of 12 * 12 products each, then of 64 * 64: 2^33 is between them.
  const auto wide = [](int64_t k) {
    return single(1023 + k, 1023 + k, depthwise(k, k, {.groups = 3}), codes(1024, 1024));
  };
  CHECK_NOTHROW(wide(12).validate());
  CHECK_THROWS_WITH(wide(64).validate(), Catch::Contains("128 taps"));

  // Two outputs for each of three inputs: groups, but not depthwise. 0.57e10 products a step.
  Int8Value y = codes(2800, 2800);
  y.c = 6;
  Int8Model grouped = single(2810, 2810,
                             Int8Conv{{.groups = 3},
                                      Tensor::full({6, 1, 11, 11}, 1, DType::i8),
                                      Tensor::full({6}, 1),
                                      Tensor::zeros({1, 6}, DType::i32)},
                             y);
  CHECK_NOTHROW(grouped.validate());
  repeat_step(grouped);
  CHECK_THROWS_WITH(grouped.validate(), Catch::Contains("groups"));
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
