#include "quant/int8_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/layout.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/requantize.h"
#include "ops/softmax.h"
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
  const auto with = [](const Tensor& t, auto value, size_t at) {
    Tensor copy = t.clone();
    copy.mutable_data<decltype(value)>()[at] = value;
    return copy;
  };
  const auto set = [&](const char* name, const char* option, AttrValue value) {
    breaks([&](Int8Model& m) { attr(node(m, name), option) = value; });
  };
  breaks([](Int8Model& m) { m.graph.values.clear(); });
  breaks([](Int8Model& m) { m.graph.inputs.clear(); });
  breaks([](Int8Model& m) { m.graph.outputs.push_back(m.graph.outputs[0]); });
  breaks([](Int8Model& m) { m.graph.outputs = {1000}; });
  breaks([](Int8Model& m) { m.layers.pop_back(); });
  breaks([](Int8Model& m) { m.graph_macs = -1; });
  breaks([](Int8Model& m) { m.graph_macs = 1; });
  // What the graph says of a value and what its node makes of it.
  const auto result = [](Int8Model& m, const char* name) -> nn::graph::Value& {
    return m.graph.values[size_t(node(m, name).output)];
  };
  breaks([&](Int8Model& m) { result(m, "conv1").shape[1] = 7; });
  breaks([&](Int8Model& m) { result(m, "conv1").shape[2] = int64_t(1) << 40; });
  breaks([&](Int8Model& m) { result(m, "conv1").dtype = DType::f32; });
  breaks([&](Int8Model& m) { result(m, "conv1").qparams.reset(); });
  breaks([&](Int8Model& m) { result(m, "conv1").qparams->zero_point += 1; });
  breaks([](Int8Model& m) { node(m, "layer1.0.conv1").inputs[0] = 99; });
  breaks([](Int8Model& m) { node(m, "layer1.0.conv1").inputs[0] = -1; });
  breaks([](Int8Model& m) { node(m, "layer1.0.conv1").inputs.clear(); });
  breaks([](Int8Model& m) { node(m, "conv1").inputs[0] = node(m, "layer1.0.conv1").output; });  // not made yet
  breaks([](Int8Model& m) { node(m, "layer1.0.conv1").output = node(m, "conv1").output; });
  breaks([](Int8Model& m) { node(m, "layer1.0.conv1").name = "conv1"; });
  breaks([](Int8Model& m) { node(m, "conv1").op = &opdef::qlut; });
  breaks([](Int8Model& m) { m.normalization->std[1] = 0; });
  breaks([](Int8Model& m) { m.normalization->mean.pop_back(); });
  breaks([](Int8Model& m) { m.normalization.reset(); });  // bytes that nothing says how to read
  set("conv1", "stride", std::vector<int64_t>{0, 0});
  set("conv1", "groups", int64_t{5});
  set("conv1", "padding", std::vector<int64_t>{2, 2});
  set("conv1", "scale", 0.0);
  set("conv1", "scale", double(std::numeric_limits<float>::quiet_NaN()));
  set("conv1", "zero_point", int64_t{256});
  set("conv1", "hi", int64_t{300});
  set("conv1", "lo", int64_t{7});  // above the zero point
  set("conv1", "dilation", std::vector<int64_t>{int64_t{1} << 40, 1});
  set("fc", "pixels", int64_t{24});  // of 25
  set("fc", "pixels", int64_t{0});
  set("fc", "pixels", int64_t{1} << 40);
  breaks([&](Int8Model& m) { constant(m, "conv1.weight") = Tensor(); });
  breaks([&](Int8Model& m) { constant(m, "conv1.weight") = with(constant(m, "conv1.weight"), int8_t(-128), 5); });
  breaks([&](Int8Model& m) { constant(m, "conv1.weight_scale") = with(constant(m, "conv1.weight_scale"), -1.0f, 2); });
  breaks([&](Int8Model& m) { constant(m, "conv1.bias") = Tensor::zeros({9, 8}, DType::f32); });
  breaks([&](Int8Model& m) {
    Tensor& bias = constant(m, "conv1.bias");
    bias = Tensor::zeros({2, 8}, DType::i32);
    m.graph.values[size_t(node(m, "conv1").inputs[3])].shape = bias.shape();
  });
  breaks([&](Int8Model& m) {
    Tensor& weight = constant(m, "fc.weight");
    weight = Tensor::zeros({10, 17}, DType::i8);
    m.graph.values[size_t(node(m, "fc").inputs[1])].shape = weight.shape();
  });
  breaks([&](Int8Model& m) { constant(m, "conv1.bias") = with(constant(m, "conv1.bias"), INT32_MAX, 3); });
  breaks([&](Int8Model& m) { constant(m, "fc.bias") = with(constant(m, "fc.bias"), INT32_MIN, 3); });
  breaks([&](Int8Model& m) {  // 3e38 * 3e38
    attr(node(m, "conv1"), "scale") = double(3e38f);
    result(m, "conv1").qparams->scale = 3e38f;
    constant(m, "layer1.0.conv1.weight_scale") = Tensor::full({8}, 3e38);
  });
}

TEST_CASE("names and notes of a model are UTF-8 text") {
  const Int8Model good = calibrated(residual(1), 1, true).compile().model();
  const auto breaks = [&](auto change) {
    Int8Model m = good;
    change(m);
    CHECK_THROWS_AS(m.validate(), Error);
  };
  for (const char* bad :
       {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82"}) {
    breaks([&](Int8Model& m) { m.graph.nodes[0].name = bad; });
    breaks([&](Int8Model& m) { m.layers[0].op = bad; });
    breaks([&](Int8Model& m) { m.layers[0].in_float = bad; });
    breaks([&](Int8Model& m) { m.graph.values[0].name = bad; });
    breaks([&](Int8Model& m) { m.calibration["note"] = bad; });
    breaks([&](Int8Model& m) { m.calibration[bad] = ""; });
  }
}

namespace {

// A model under construction: x is f32 [1,c,h,w], quantized.
struct Net : Int8Model {
  explicit Net(const Shape& x) {
    graph.inputs = {graph.add_value({.name = "x", .shape = x, .dtype = DType::f32, .constant = {}})};
    add(opdef::quantize, {0}, to_attrs(QParams{}));
  }
  int add(const OpDef& op, std::vector<int> in, Attrs attrs = {}) {
    layers.emplace_back();
    last = graph.add_node(op, message(op.name, '_', graph.nodes.size()), std::move(in), std::move(attrs));
    return last;
  }
  template <class Options>
  Net& then(const OpDef& op, const Options& o) {
    add(op, {last}, to_attrs(o));
    return *this;
  }
  int tensor(const Tensor& t) { return graph.add_constant(message("constant", graph.values.size()), t); }
  Net& conv(const Tensor& weight, const Conv2dParams& o) {
    const int64_t outputs = weight.size(0);
    const int w = tensor(weight), scale = tensor(Tensor::full({outputs}, 1));
    const int bias = tensor(Tensor::zeros({1, outputs}, DType::i32));
    add(opdef::qconv2d, {last, w, scale, bias, nn::graph::kAbsent}, to_attrs(QConv2dOptions{o, QParams{}}));
    return *this;
  }
  // With the last value as its result.
  void validate() {
    Int8Model m = *this;
    const bool codes = m.graph.values[size_t(last)].qparams.has_value();
    const int y = codes ? m.graph.add_node(opdef::dequantize, "end", {last}) : last;
    if (codes) m.layers.emplace_back();
    m.graph.outputs = {y};
    m.validate();
  }

  int last = 0;
};

Tensor ones(const Shape& s) { return Tensor::full(s, 1, DType::i8); }

}  // namespace

TEST_CASE("what forward() relies on is checked before") {
  const auto good = [](auto make) { CHECK_NOTHROW(make().validate()); };
  const auto bad = [](auto make) { CHECK_THROWS_AS(make().validate(), Error); };
  const auto pool = [](int64_t h, int64_t w, const OpDef& op, const auto& o) {
    return [=, &op] { return Net({1, 3, h, w}).then(op, o); };
  };
  const auto average = [](const QPoolWindow& w) { return QAvgPool2dOptions{w, true, QParams{}}; };
  good(pool(9, 9, opdef::qmax_pool2d, QPoolWindow{3, 2, 1}));
  bad(pool(9, 9, opdef::qmax_pool2d, QPoolWindow{3, 2, 3}));  // windows of padding alone
  bad(pool(2, 9, opdef::qmax_pool2d, QPoolWindow{5, 1, 1}));
  good(pool(9, 9, opdef::qavg_pool2d, average({3, 2, 1})));
  good(pool(9, 9, opdef::real_avg_pool2d, RealAvgPool2dOptions{{3, 2, 1}}));
  bad(pool(4096, 4096, opdef::qavg_pool2d, average({4096, 4096})));  // the sum of a window
  bad(pool(9, 9, opdef::qavg_pool2d, QAvgPool2dOptions{{3, 2, 1}, true, {0, 0}}));
  good(pool(2, 2, *opdef::real_unary("relu"), RealUnaryOptions{}));
  for (const double value : {1e39, std::numeric_limits<double>::infinity(), double(NAN)})
    bad(pool(2, 2, *opdef::real_unary("mul_scalar"), RealUnaryOptions{value}));  // no f32
  const auto lut = [](const Tensor& table) {
    return [=] {
      Net n({1, 3, 2, 2});
      n.add(opdef::qlut, {n.last, n.tensor(table)}, to_attrs(QParams{}));
      return n;
    };
  };
  good(lut(Tensor::zeros({256}, DType::u8)));
  bad(lut(Tensor::zeros({255}, DType::u8)));
  bad(lut(Tensor::zeros({256}, DType::i8)));
  bad(lut(Tensor::zeros({512}, DType::u8).as_strided({256}, {2})));

  const auto classifier = [](int64_t side) {
    return [=] {
      Net n({1, 3, side, side});
      const int sums = n.add(opdef::qglobal_sum, {n.last});
      n.add(opdef::qlinear,
            {sums, n.tensor(ones({3, 3})), n.tensor(Tensor::full({3}, 1)), n.tensor(Tensor::zeros({3}, DType::i32))},
            to_attrs(QLinearOptions{side * side}));
      return n;
    };
  };
  bad(classifier(4096));  // 255 * 4096 * 4096 is more than 2^31
  good(classifier(64));

  // A second operand of half the size, or of the same.
  const auto twice = [](const OpDef& op, bool half, const auto& o) {
    return [=, &op] {
      Net n({1, 3, 2, 2});
      const int x = n.last;
      n.then(opdef::qmax_pool2d, half ? QPoolWindow{2, 2, 0} : QPoolWindow{});
      n.add(op, {x, n.last}, to_attrs(o));
      return n;
    };
  };
  good(twice(opdef::qmul, false, QResult{}));
  good(twice(opdef::qmul, true, QResult{}));
  bad(twice(opdef::qmul, false, QResult{{}, 5, 3}));
  bad(twice(opdef::qmul, false, QResult{{1, 3}, 5, 9}));
  good(twice(opdef::qadd, false, QResult{}));
  bad(twice(opdef::qadd, true, QResult{}));
  bad(twice(opdef::qadd, false, QResult{{0, 0}}));
  good(twice(opdef::qcat, false, QParams{}));
  bad(twice(opdef::qcat, true, QParams{}));
  bad(twice(opdef::qcat, false, QParams{1, 256}));
  bad([] {
    Net n({1, 3, 2, 2});
    n.add(opdef::qcat, {}, to_attrs(QParams{}));
    return n;
  });
  // On numbers that are no codes.
  bad([] { return Net({1, 3, 2, 2}).then(opdef::dequantize, NoOptions()).then(opdef::dequantize, NoOptions()); });
  bad([] { return Net({1, 3, 2, 2}).then(opdef::qpack, NoOptions()).then(opdef::quantize, QParams()); });

  Int8Model image = calibrated(residual(1), 1, true).compile().model();
  CHECK_NOTHROW(image.validate());
  const int bytes = node(image, "qpack").output;
  image.layers.emplace_back();
  image.graph.add_node(opdef::qmax_pool2d, "of bytes", {bytes}, to_attrs(QPoolWindow{}));
  CHECK_THROWS_WITH(image.validate(), Catch::Contains("image's bytes"));
}

TEST_CASE("codes go to ops on codes alone, and a result is none") {
  const auto bad = [](const OpDef& op, const auto& o) {
    Net n({1, 8, 4, 4});
    n.then(op, o);
    CHECK_THROWS_WITH(n.validate(), Catch::Contains("no op on codes"));
  };
  bad(opdef::slice, SliceOptions{1, 7, 8});
  bad(opdef::reshape, ShapeOptions{{1, 8, 2, 8}});
  bad(opdef::functor<op::Relu>, NoOptions());
  Net n({1, 3, 2, 2});
  n.graph.outputs = {n.last};
  CHECK_THROWS_WITH(n.Int8Model::validate(), Catch::Contains("the result is codes"));
}

TEST_CASE("a constant is read a few times at most") {
  Net n({1, 3, 2, 2});
  const int w = n.tensor(ones({3, 3, 1, 1})), scale = n.tensor(Tensor::full({3}, 1));
  for (int i = 0; i < 17; ++i) {
    const int bias = n.tensor(Tensor::zeros({1, 3}, DType::i32));
    const int s = i < 8 ? scale : n.tensor(Tensor::full({3}, 1));
    n.add(opdef::qconv2d, {n.last, w, s, bias, nn::graph::kAbsent}, to_attrs(QConv2dOptions{{}, QParams{}}));
    if (i < 16)
      CHECK_NOTHROW(n.validate());
    else
      CHECK_THROWS_WITH(n.validate(), Catch::Contains("is read 17 times"));
  }
}

TEST_CASE("a model's images do not mix") {
  const auto mixes = [](auto add) {
    Net n({1, 3, 4, 4});
    n.then(opdef::dequantize, NoOptions());
    add(n);
    CHECK_THROWS_WITH(n.validate(), Catch::Contains("across the batch"));
  };
  mixes([](Net& n) { n.then(opdef::softmax, DimOptions{0}); });
  mixes([](Net& n) { n.then(opdef::softmax, DimOptions{-4}); });
  mixes([](Net& n) {
    const int x = n.last;
    n.then(opdef::mean, ReduceOptions{{0}, true});
    n.add(opdef::functor<op::Sub>, {x, n.last});
  });
}

TEST_CASE("a model's batch goes through to its result") {
  Net n({1, 3, 4, 4});
  n.then(opdef::dequantize, NoOptions()).then(opdef::mean, ReduceOptions{{0}, false});
  CHECK_THROWS_AS(n.validate(), Error);
}

TEST_CASE("work that a small file may describe is limited") {
  const auto depthwise = [](int64_t kh, int64_t kw) { return ones({3, 1, kh, kw}); };
  CHECK_NOTHROW(Net({1, 3, 1, 1}).conv(depthwise(1, 1000), {.padding = {0, 1000}, .groups = 3}).validate());
  CHECK_THROWS_AS(Net({1, 3, 1, 1}).conv(depthwise(1, 1), {.padding = 4096, .groups = 3}).validate(), ValueError);
  // 2^24 pixels of 3 products each, with 2^17 taps.
  CHECK_THROWS_AS(
      Net({1, 3, 1, 1 << 17}).conv(depthwise(1, 1 << 17), {.padding = {63, 1 << 16}, .groups = 3}).validate(),
      ValueError);
  CHECK_THROWS_WITH(Net({1, 3, 4095, 4095}).then(opdef::qmax_pool2d, QPoolWindow{2048, 1, 0}).validate(),
                    Catch::Contains("windows of its pools hold more than"));
  // Pools within the limit each: 3 * 513 * 513 windows of 64 * 64 numbers.
  Net pools({1, 3, 576, 576});
  const int x = pools.last;
  for (const bool fits : {true, true, false}) {
    pools.add(opdef::qmax_pool2d, {x}, to_attrs(QPoolWindow{64, 1, 0}));
    if (fits)
      CHECK_NOTHROW(pools.validate());
    else
      CHECK_THROWS_WITH(pools.validate(), Catch::Contains("windows of its pools hold more than"));
  }
  // The same in float.
  Net average({1, 3, 4095, 4095});
  average.then(opdef::dequantize, NoOptions()).then(opdef::max_pool2d, Pool2dOptions{2048, 1, 0});
  CHECK_THROWS_WITH(average.validate(), Catch::Contains("windows of its pools hold more than"));
  Net many({1, 3, 2, 2});
  for (int i = 0; i < 1 << 13; ++i) many.then(*opdef::real_unary("relu"), RealUnaryOptions{});
  CHECK_THROWS_WITH(many.validate(), Catch::Contains("nodes are more than"));
}

TEST_CASE("convolutions that only the reference kernel takes may be less work") {
  // 3 * 2^20 pixels of 12 * 12 products each, then of 64 * 64: 2^33 is between them.
  const auto wide = [](int64_t k) { return Net({1, 3, 1023 + k, 1023 + k}).conv(ones({3, 1, k, k}), {.groups = 3}); };
  CHECK_NOTHROW(wide(12).validate());
  CHECK_THROWS_WITH(wide(64).validate(), Catch::Contains("128 taps"));

  // Two outputs for each of three inputs: groups, but not depthwise. 0.57e10 products a layer.
  Net grouped({1, 3, 2810, 2810});
  const int x = grouped.last;
  grouped.conv(ones({6, 1, 11, 11}), {.groups = 3});
  CHECK_NOTHROW(grouped.validate());
  grouped.last = x;
  grouped.conv(ones({6, 1, 11, 11}), {.groups = 3});
  CHECK_THROWS_WITH(grouped.validate(), Catch::Contains("groups"));
}

TEST_CASE("multiply-accumulates are counted per node") {
  Int8Model m = calibrated(residual(1), 1, false).compile().model();
  const std::vector<int64_t> each = macs(m.graph);
  REQUIRE(each.size() == m.graph.nodes.size());
  CHECK(each[size_t(&node(m, "conv1") - m.graph.nodes.data())] == 81 * 8 * 27);
  CHECK(each[size_t(&node(m, "fc") - m.graph.nodes.data())] == 180);
  int64_t sum = 0;
  for (const int64_t n : each) sum += n;
  CHECK(sum == m.graph_macs);
}
