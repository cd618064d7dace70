#include "quant/lower.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "quant/grid/affine.h"
#include "quant/int8_net.h"
#include "quant/weights/equalize.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

namespace {

Lowered lower_fn(const Layers::Fn& fn, const Shape& input, const LowerOptions& o = {}) {
  const auto g = nn::graph::optimize(nn::trace(fn, Tensor::zeros(input)));
  return lower(g, std::vector<Range>(g.values.size(), {-1, 3}), o);
}

std::vector<std::string> ops(const Lowered& l) {
  std::vector<std::string> names;
  for (const LayerNote& n : l.model.layers)
    if (!n.op.empty()) names.push_back(n.op);
  return names;
}

}  // namespace

TEST_CASE("lower asks the rounder for the codes of every layer, by name") {
  const TestNet net = residual(3);
  const auto g = nn::graph::optimize(nn::trace(net.fn, Tensor::zeros(net.input)));
  const std::vector<Range> ranges(g.values.size(), {-1, 3});
  std::set<std::string> asked, layers;
  const auto half = [&](const WeightGrid& grid) {
    asked.insert(std::string(grid.layer));
    Tensor codes = nearest(grid);
    for (int8_t& c : codes.mutable_data<int8_t>()) c = int8_t(c / 2);
    return codes;
  };
  const Int8Model plain = lower(g, ranges, {}).model, halved = lower(g, ranges, {.round = half}).model;
  for (const nn::graph::Node& n : plain.graph.nodes) {
    if (!is_int8_layer(n)) continue;
    layers.insert(n.name);
    const auto weight = [&](const Int8Model& m) { return m.graph.values[size_t(n.inputs[1])].constant.to_vector(); };
    const std::vector<double> w = weight(plain), h = weight(halved);
    bool is_half = true;
    for (size_t k = 0; k < w.size(); ++k) is_half = is_half && h[k] == std::trunc(w[k] / 2);
    CHECK(is_half);
  }
  CHECK(asked == layers);
  CHECK_THROWS_AS(lower(g, ranges, {.round = {}}), ValueError);
}

TEST_CASE("the test networks become these steps") {
  using Ops = std::vector<std::string>;
  const auto steps = [](const TestNet& net) { return ops(lower_fn(net.fn, net.input)); };
  CHECK(steps(mlp(1)) == Ops{"linear+relu", "linear"});
  CHECK(steps(vgg(1)) == Ops{"conv2d+relu", "max_pool2d", "conv2d+relu", "max_pool2d", "linear+relu", "linear"});
  CHECK(steps(mobile(1)) == Ops{"conv2d+relu6", "conv2d+relu6", "conv2d", "silu", "avg_pool2d", "linear"});
  CHECK(steps(residual(1)) == Ops{"conv2d+relu", "conv2d+relu", "conv2d+add+relu", "conv2d+relu", "conv2d",
                                  "conv2d+add+relu", "global_sum", "linear"});
}

TEST_CASE("a mean over the map is a global average however it is written") {
  Layers l(1);
  const auto fc = l.linear("fc", 3, 4);
  using Ops = std::vector<std::string>;
  const Shape x{1, 3, 5, 6};
  CHECK(ops(lower_fn(
            [&](const Tensor& t) {
              return fc(mean(relu(t), {2, 3}));
            },
            x)) == Ops{"relu", "global_sum", "linear"});
  CHECK(ops(lower_fn(
            [&](const Tensor& t) {
              return fc(flatten(avg_pool2d(t, {.kernel = {5, 6}})));
            },
            x)) == Ops{"global_sum", "linear"});
  CHECK(ops(lower_fn([&](const Tensor& t) { return relu(fc(flatten(global_avg_pool2d(t)))); }, x)) ==
        Ops{"global_sum", "linear", "relu"});
  // A linear layer behind which another one follows needs codes.
  const auto last = l.linear("last", 4, 2);
  CHECK(ops(lower_fn([&](const Tensor& t) { return last(relu(fc(flatten(global_avg_pool2d(t))))); }, x)) ==
        Ops{"global_avg_pool2d", "linear+relu", "linear"});
}

namespace {

// Of each float op its name and why it is one, and the layers around.
struct Mixed {
  std::vector<std::string> ops;
  std::string why;  // of the first float op
};

Mixed mixed(const Layers::Fn& fn, const Shape& x, const LowerOptions& o = {}) {
  const Lowered l = lower_fn(fn, x, o);
  Mixed m{ops(l), {}};
  for (size_t i = 0; i < l.model.layers.size(); ++i)
    if (const std::string& why = l.model.layers[i].in_float; !why.empty() && m.why.empty())
      m.why = message(l.model.graph.nodes[i].name, ": ", why);
  return m;
}

}  // namespace

TEST_CASE("what has no int8 form stays a float op, and its note says why") {
  using Ops = std::vector<std::string>;
  Layers l(1);
  const auto conv = l.conv("body.conv", 3, 3, 1), bn = l.batch_norm("body.norm", 3);
  const Shape x{1, 3, 4, 4};
  const auto of = [&](const Layers::Fn& fn, const LowerOptions& o = {}) { return mixed(fn, x, o); };
  const auto why = [&](const Layers::Fn& fn, const LowerOptions& o = {}) { return of(fn, o).why; };

  const Mixed end = of([&](const Tensor& t) { return softmax(relu(conv(t)), 1); });
  CHECK(end.ops == Ops{"conv2d", "relu", "softmax"});  // what the float op reads is not rounded
  CHECK(end.why == "softmax_1: it has no int8 form");
  const Mixed middle = of([&](const Tensor& t) { return conv(softmax(conv(t), 1)); });
  CHECK(middle.ops == Ops{"conv2d", "softmax", "conv2d"});
  const Mixed both = of([&](const Tensor& t) {
    const Tensor y = relu(conv(t));
    return conv(softmax(y, 1)) + conv(y);
  });
  CHECK(both.ops == Ops{"conv2d+relu", "conv2d", "softmax", "conv2d+add"});

  CHECK_THAT(why([&](const Tensor& t) { return conv(bn(t)); }), Contains("body.norm: it has no int8 form"));
  CHECK_THAT(why([&](const Tensor& t) { return cat({conv(t), t}, 1); }), Contains("cat_1: no layer comes between"));
  CHECK_THAT(why([&](const Tensor& t) { return conv(t) * conv(t); }), Contains("mul_1: no layer comes between"));
  CHECK_THAT(why([&](const Tensor& t) { return conv(cat({conv(t), t}, 2)); }), Contains("along dimension 2"));
  CHECK_THAT(why([&](const Tensor& t) { return conv(t * mean(t, {2}, true)); }), Contains("mean_1"));
  CHECK_THAT(why([&](const Tensor& t) {
               return conv(t * max_pool2d(t, {.kernel = {1, 4}}));
             }),
             Contains("mul_1") && Contains("[1,3,4,1]"));
  CHECK_THAT(why([&](const Tensor& t) { return relu(t) + global_avg_pool2d(t); }), Contains("broadcasts"));
  CHECK_THAT(why([&](const Tensor& t) { return conv(t + Tensor::full({1, 3, 4, 4}, 2)); }), Contains("is a constant"));
  CHECK_THAT(why([&](const Tensor& t) {
               return reshape(conv(t), {t.size(0), 12, 2, 2});
             }),
             Contains("reshape_1: from [1,3,4,4]"));
  // Between float ops there is nothing to gain.
  CHECK(of([&](const Tensor& t) { return conv(relu(softmax(relu(softmax(conv(t), 1)), 1))); }).ops ==
        Ops{"conv2d", "softmax", "relu", "softmax", "relu", "conv2d"});
  // An image's bytes are made numbers for those that are no layers.
  CHECK(of([](const Tensor& t) { return relu(t); }, {.input = kImages}).ops == Ops{"relu"});
  CHECK(of([&](const Tensor& t) { return conv(t) + t; }, {.input = kImages}).ops == Ops{"conv2d+add"});
}

TEST_CASE("a network of int8 and float ops gives about what the float network gives") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  Layers l(seed);
  const auto a = l.conv("a", 3, 8, 3, {.padding = 1}), b = l.conv("b", 8, 8, 3, {.padding = 1});
  const auto fc = l.linear("fc", 8, 6);
  const std::vector<TestNet> nets{
      {"attention over channels",
       {2, 3, 6, 6},
       [=](const Tensor& x) {
         const Tensor y = relu(a(x));
         return fc(flatten(global_avg_pool2d(b(y * softmax(y, 1)))));
       }},
      {"probabilities",
       {2, 3, 6, 6},
       [=](const Tensor& x) { return softmax(fc(flatten(global_avg_pool2d(relu(b(relu(a(x))))))), 1); }},
      {"padded",
       {2, 3, 6, 6},
       [=](const Tensor& x) {
         return b(pad(relu(a(x)), {{0, 0}, {0, 0}, {1, 2}, {0, 3}}, 0.5));
       }},
      {"tokens",
       {2, 3, 6, 6},
       [=](const Tensor& x) {
         const Tensor rows = reshape(permute(relu(a(x)), {0, 2, 3, 1}), {-1, 8});
         return reshape(fc(rows), {x.size(0), 36 * 6});
       }},
      {"channel split",
       {2, 3, 6, 6},
       [=](const Tensor& x) {
         const Tensor y = a(x);
         return b(cat({slice(y, 1, 4, 8), slice(y, 1, 0, 4)}, 1));
       }},
      {"difference", {2, 3, 6, 6}, [=](const Tensor& x) {
         const Tensor y = a(x);
         return b(relu(y) - tanh(y)) / 2.0;
       }}};
  for (const TestNet& net : nets)
    for (const bool images : {false, true}) {
      INFO(net.name << (images ? " on images" : ""));
      const Calibrator calib = calibrated(net, seed, images, {.bias_correction = true});
      const Int8Net compiled = calib.compile({.slice = 4}), whole = calib.compile();
      const Tensor x = random_input(net, 7, images, seed + 1);
      const Tensor exact = net.fn(images ? normalize_images(x, kImages) : x);
      SignalToNoise s;
      const auto wanted = exact.to_vector(), got = compiled(x).to_vector();
      REQUIRE(got.size() == wanted.size());
      for (size_t i = 0; i < got.size(); ++i) s.add(wanted[i], got[i]);
      CHECK(s.decibel() > 20);
      CHECK(whole(x).to_vector() == got);
      CHECK(compiled.report().int8_mac_coverage() == 1);
      std::ostringstream report;
      report << compiled.report();
      const bool views_alone = net.name == "tokens";  // what costs nothing is not listed
      CHECK((report.str().find("in float: ") == std::string::npos) == views_alone);
      const TempFolder folder;
      compiled.save(folder / "net");
      const Int8Net loaded = Int8Net::load(folder / "net");
      CHECK(loaded(x).to_vector() == got);
      std::ostringstream again;
      again << loaded.report();
      CHECK((again.str().find("in float: ") == std::string::npos) == views_alone);
    }
}

TEST_CASE("graphs that are no networks of one input and one output are refused") {
  const auto refusal = [&](const Layers::Fn& fn, const LowerOptions& o = {}) {
    try {
      lower_fn(fn, {2, 3, 4, 4}, o);
    } catch (const KernelError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THAT(refusal([](const Tensor& t) { return t; }), Contains("computes nothing"));
  CHECK_THAT(refusal([](const Tensor& t) { return softmax(t, 0); }),
             Contains("op softmax at node softmax_1") && Contains("across the batch"));
  CHECK_THAT(refusal([](const Tensor& t) { return t - mean(t, {0}, true); }), Contains("op mean at node mean_1"));
  CHECK_THAT(refusal([](const Tensor& t) { return t / sum(t); }), Contains("op sum at node sum_1"));
  CHECK_THAT(refusal([](const Tensor& t) {
               return permute(permute(t, {1, 0, 2, 3}), {1, 0, 2, 3}) * 2.0;
             }),
             Contains("op permute at node permute_1") && Contains("moves the batch"));
}

TEST_CASE("what is between float ops alone may be infinite: a mask") {
  Tensor mask = Tensor::zeros({6, 6});
  for (int i = 0; i < 6; ++i)
    for (int j = i + 1; j < 6; ++j) mask.mutable_data<float>()[size_t(i * 6 + j)] = -INFINITY;
  const auto fc = Layers(1).linear("fc", 6, 6);
  const TestNet net{"masked", {2, 6}, [=](const Tensor& x) {
                      const Tensor rows = reshape(fc(x), {x.size(0), 1, 6});
                      return mean(softmax(matmul(reshape(rows, {x.size(0), 6, 1}), rows) + mask, 2), {1});
                    }};
  const Int8Net compiled = calibrated(net, 1, false).compile();
  const Tensor x = random_input(net, 5, false, 2);
  CHECK(max_difference(compiled(x), net.fn(x)) < 0.05);
}

TEST_CASE("a net that is loaded chooses the kernels that it was compiled with, of float ops too") {
  const auto fc = Layers(1).linear("fc", 8, 8);
  const Tensor w = Layers(2).normal("w", {8, 8}, 0, 1);
  const TestNet net{"product", {2, 8}, [=](const Tensor& x) { return matmul(softmax(fc(x), 1), w); }};
  const Int8Net compiled = calibrated(net, 1, false).compile();
  const TempFolder folder;
  compiled.save(folder / "net");
  const Report a = compiled.report(), b = Int8Net::load(folder / "net").report();
  REQUIRE(a.layers.size() == b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) CHECK(a.layers[i].kernel == b.layers[i].kernel);
}

TEST_CASE("an image goes into a linear layer as bytes, too") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const auto fc = Layers(seed).linear("fc", 3 * 16, 5);
  const TestNet net{"flat", {2, 3, 4, 4}, [=](const Tensor& x) { return fc(flatten(x)); }};
  const Int8Net compiled = calibrated(net, seed, true).compile();
  std::vector<std::string> names;
  for (const nn::graph::Node& n : compiled.model().graph.nodes) names.push_back(n.op->name);
  CHECK(names == std::vector<std::string>{"qpack", "qconv2d", "reshape"});
  const Tensor x = random_images({4, 3, 4, 4}, seed);
  CHECK(max_difference(compiled(x), net.fn(normalize_images(x, kImages))) < 0.1);
}

TEST_CASE("behind the last layers numbers stay real") {
  Layers l(1);
  const auto a = l.conv("a", 3, 3, 3, {.padding = 1}), b = l.conv("a.relu", 3, 4, 1);
  const Lowered r =
      lower_fn([&](const Tensor& t) { return flatten(global_avg_pool2d(relu(b(relu(a(t)))))); }, {1, 3, 5, 6});
  using Ops = std::vector<std::string>;
  CHECK(ops(r) == Ops{"conv2d+relu", "conv2d", "relu", "global_avg_pool2d"});
  std::vector<std::string> names;
  for (size_t i = 0; i < r.model.layers.size(); ++i)
    if (!r.model.layers[i].op.empty()) names.push_back(r.model.graph.nodes[i].name);
  CHECK(names == Ops{"a", "a.relu", "a.relu.relu", "global_avg_pool2d_1"});
  for (const nn::graph::Node& n : r.model.graph.nodes)
    CHECK((r.source[size_t(n.output)] == nn::graph::kAbsent) == (n.name == "a.relu"));
  const Lowered clash = lower_fn(
      [&](const Tensor& t) {
        return relu(a(relu(conv2d(b(t), Tensor::full({3, 4, 1, 1}, 1.0), {}))));
      },
      {1, 3, 5, 6});
  CHECK(clash.model.graph.nodes.back().name == "a.relu_2");
}

TEST_CASE("flattened maps are added where they lie alike, else in float") {
  Layers l(1);
  const auto fc = l.linear("fc", 12, 12);
  const Shape x{1, 3, 2, 2};
  const auto end = l.linear("end", 12, 2);
  CHECK(mixed([&](const Tensor& t) { return end(flatten(t) + flatten(relu(t))); }, x).why.empty());
  CHECK_THAT(mixed([&](const Tensor& t) { return end(flatten(t) + fc(flatten(t))); }, x).why,
             Contains("add_1: ") && Contains("flattened"));
}

TEST_CASE("a layer whose sums cannot stay in 32 bits stays in float, whatever its input") {
  const int64_t k = 1 << 17;
  const Tensor w = Tensor::full({1, k}, 0.01).set_name("huge.weight");
  const auto fc = [&](const Tensor& t) { return linear(t, w, {}); };
  CHECK_THAT(mixed(fc, {1, k}).why, Contains("huge: ") && Contains("32 bits"));
  const Calibrator calib = calibrated({"huge", {2, k}, fc}, 1, false);
  CHECK(calib.compile().report().int8_mac_coverage() == 0);
  // As the last layer behind a global average of a large map: no exact sums, but codes.
  Layers l(1);
  const auto small = l.linear("fc", 64, 3);
  CHECK(ops(lower_fn([&](const Tensor& t) { return small(flatten(global_avg_pool2d(t))); }, {1, 64, 224, 224})) ==
        std::vector<std::string>{"global_avg_pool2d", "linear"});
}

TEST_CASE("the layer behind a global average is precise for maps of every size") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  constexpr int64_t kChannels = 16;
  Layers l(seed);
  const Tensor w = l.normal("w", {8, kChannels}, 0, 0.25), b = Tensor::full({8}, 0.5);
  const auto net = [&](const Tensor& t) { return linear(flatten(global_avg_pool2d(t)), w, b); };
  Generator g(seed);
  for (const int64_t side : {4, 32, 96, 224}) {
    const int64_t n = 4;
    const Int8Net compiled(lower_fn(net, {1, kChannels, side, side}).model);
    Tensor x = Tensor::empty({n, kChannels, side, side});
    const auto v = x.mutable_data<float>();
    const size_t pixels = size_t(side * side);
    for (size_t map = 0; map < size_t(n * kChannels); ++map) {
      const int code = int(g.below(250));  // the mean is about this code of the grid -1 .. 3
      for (size_t i = 0; i < pixels; ++i) v[map * pixels + i] = float((code + double(g.below(5)) - 64) * 4 / 255);
    }
    SignalToNoise error;
    const auto exact = net(x).to_vector(), y = compiled(x).to_vector();
    for (size_t i = 0; i < y.size(); ++i) error.add(exact[i], y[i]);
    INFO(side << " x " << side << ": " << error.decibel() << " dB");
    CHECK(error.decibel() > 40);
  }
}

TEST_CASE("a large bias does not make weights coarse") {
  Layers l(5);
  const Tensor w = l.normal("w", {4, 30}, 0, 1), b = Tensor::full({4}, 1e4);
  const auto fc = [&](const Tensor& x) { return linear(x, w, b); };
  const Int8Model m = lower_fn(fc, {1, 30}).model;
  const auto layer = std::find_if(m.graph.nodes.begin(), m.graph.nodes.end(), is_int8_layer);
  const auto codes = m.graph.values[size_t(layer->inputs[1])].constant.data<int8_t>();
  for (size_t o = 0; o < 4; ++o) {
    int top = 0;
    for (size_t k = 0; k < 30; ++k) top = std::max(top, std::abs(int{codes[o * 30 + k]}));
    CHECK(top == 127);
  }
}

TEST_CASE("the lossless stem is exact at every pixel, border included") {
  // With weights that are multiples of the weight scale nothing is rounded but the bias: the f32 result must then agree
  // with the float convolution of the normalised image almost to the last bit.
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const Conv2dParams& o : {Conv2dParams{.padding = 1}, Conv2dParams{.stride = 2, .padding = {2, 1}},
                                Conv2dParams{.padding = 2, .dilation = 2}, Conv2dParams{.padding = 1, .groups = 3}}) {
    Generator g(seed);
    const int64_t icg = 3 / o.groups;
    Tensor w = Tensor::empty({6, icg, 3, 3});
    const auto v = w.mutable_data<float>();
    for (size_t i = 0; i < v.size(); ++i) {
      const size_t channel = i / 9 % size_t(icg) + i / size_t(icg * 9) / size_t(6 / o.groups) * size_t(icg);
      const int code = i % size_t(icg * 9) == 0 ? 127 : int(g.below(255)) - 127;
      v[i] = float(code * 1e-3 * 255 * double(kImages.std[channel % 3]));
    }
    const Tensor b = Layers(seed).normal("b", {6}, 0, 1);
    const auto conv = [&](const Tensor& x) { return conv2d(x, w, b, o); };
    const Int8Net net(lower_fn(conv, {1, 3, 7, 6}, {.input = kImages}).model);
    const Tensor x = random_images({4, 3, 7, 6}, seed);
    const Tensor exact = conv(normalize_images(x, kImages));
    CHECK(max_difference(net(x), exact) < 2e-3);  // weights reach 60, sums several thousand
  }
}

TEST_CASE("channels without weights, tiny weights and large biases keep their values") {
  Layers l(3);
  Tensor w = l.normal("w", {4, 5}, 0, 1), b = Tensor::from(std::vector<float>{0.1f, 3.0f, -0.002f, 100.0f}, {4});
  const auto v = w.mutable_data<float>();
  for (size_t i = 0; i < 5; ++i) {
    v[5 + i] = 0;
    v[10 + i] = 0;
    v[15 + i] *= 1e-9f;
  }
  const auto fc = [&](const Tensor& x) { return linear(x, w, b); };
  const Int8Net net(lower_fn(fc, {1, 5}).model);
  const Tensor x = l.uniform("", {10, 5}, -1, 3);
  const auto y = net(x).to_vector(), exact = fc(x).to_vector();
  for (size_t i = 0; i < y.size(); ++i) {
    INFO(i);
    if (i % 4 != 0) CHECK(y[i] == Approx(exact[i]).epsilon(1e-6));
  }
}

TEST_CASE("per-tensor weights share one scale") {
  const Lowered l = lower_fn(residual(1).fn, residual(1).input, {.per_channel = false});
  for (const nn::graph::Node& n : l.model.graph.nodes)
    if (is_int8_layer(n)) {
      const auto scale = l.model.graph.values[size_t(n.inputs[2])].constant.to_vector();
      CHECK(std::equal(scale.begin() + 1, scale.end(), scale.begin()));
    }
}

TEST_CASE("graphs that break a rule or whose constants do not fit are refused, whatever takes them") {
  Layers l(1);
  const auto a = l.conv("a", 3, 4, 3), b = l.conv("b", 4, 4, 1);
  const nn::graph::Graph good = nn::trace([&](const Tensor& x) { return b(relu(a(x))); }, Tensor::zeros({1, 3, 8, 8}));
  const auto refused = [](const nn::graph::Graph& g) {
    for (const bool equalize : {false, true}) CHECK_THROWS_AS(Calibrator(g, {.equalize = equalize}), Error);
    CHECK_THROWS_AS(lower(g, std::vector<Range>(g.values.size(), Range{0, 1}), {}), Error);
  };
  for (const int id : {99, -5, -1}) {
    nn::graph::Graph g = good;
    g.nodes[0].inputs[1] = id;
    refused(g);
    CHECK_THROWS_AS(equalize(g), ValueError);
  }
  nn::graph::Graph g = good;
  g.outputs = {77};
  refused(g);
  CHECK_THROWS_AS(equalize(g), ValueError);
  // A bias of another length, and weights for other channels.
  for (const Shape& shape : {Shape{1}, Shape{5}, Shape{}}) {
    g = good;
    g.nodes[2].inputs[2] = g.add_constant("bias", Tensor::full(shape, 1));
    refused(g);
  }
  for (const Shape& shape : {Shape{4, 3, 1, 1}, Shape{4}, Shape{0, 4, 1, 1}, Shape{4, 9, 1, 1}}) {
    g = good;
    g.nodes[2].inputs[1] = g.add_constant("weight", Tensor::full(shape, 1));
    refused(g);
  }
  for (const int64_t groups : {0, 3, 8}) {
    g = good;
    for (Attr& attr : g.nodes[2].attrs)
      if (attr.name == "groups") attr.value = groups;
    refused(g);
  }
}
