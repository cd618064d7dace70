#include "nn/graph/trace.h"

#include "core/autograd.h"
#include "nn/graph/executor.h"
#include "nn/linear.h"
#include "nn/scope.h"
#include "ops/dropout.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("a traced network computes what the function computes, at any batch size") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : test_nets(seed)) {
    INFO(net.name);
    Layers data(seed + 1);
    const Graph g = nn::trace(net.fn, data.input(net.input));
    for (const int64_t n : {1, 2, 5}) {
      const Tensor x = data.input(with_batch(net.input, n));
      CHECK(max_difference(run(g, x), net.fn(x)) == 0);
    }
  }
}

TEST_CASE("nodes are named after their parameters, else by op and number") {
  const TestNet net = residual(1);
  const Graph g = nn::trace(net.fn, Tensor::zeros(net.input));
  std::vector<std::string> names;
  for (const nn::graph::Node& n : g.nodes) names.push_back(n.name);
  CHECK(names == std::vector<std::string>{"conv1",
                                          "bn1",
                                          "relu_1",
                                          "layer1.0.conv1",
                                          "layer1.0.bn1",
                                          "relu_2",
                                          "layer1.0.conv2",
                                          "layer1.0.bn2",
                                          "add_1",
                                          "relu_3",
                                          "layer2.0.conv1",
                                          "layer2.0.bn1",
                                          "relu_4",
                                          "layer2.0.conv2",
                                          "layer2.0.bn2",
                                          "layer2.0.downsample.0",
                                          "layer2.0.downsample.1",
                                          "add_2",
                                          "relu_5",
                                          "global_avg_pool2d_1",
                                          "flatten_1",
                                          "fc"});
  CHECK(g.values[size_t(g.nodes[0].inputs[1])].name == "conv1.weight");
  CHECK(g.nodes[0].inputs[2] == kAbsent);
}

TEST_CASE("a layer called twice makes two nodes that share their parameters") {
  Layers l(1);
  const auto fc = l.linear("fc", 4, 4);
  const Graph g = nn::trace([&](const Tensor& x) { return fc(fc(x)); }, Tensor::zeros({1, 4}));
  REQUIRE(g.nodes.size() == 2);
  CHECK(g.nodes[1].name == "fc_2");
  CHECK(g.nodes[0].inputs[1] == g.nodes[1].inputs[1]);
}

TEST_CASE("made-up names pass over those of layers") {
  Layers l(1);
  const auto c = l.linear("c", 4, 4), c2 = l.linear("c_2", 4, 4), add1 = l.linear("add_1", 4, 4);
  const auto relu = l.linear("relu", 4, 4);
  const Graph g =
      nn::trace([&](const Tensor& x) { return mininn::relu(relu(add1(c2(c(c(x))) + x))); }, Tensor::zeros({1, 4}));
  std::vector<std::string> names;
  for (const nn::graph::Node& n : g.nodes) {
    names.push_back(n.name);
    CHECK(g.values[size_t(n.output)].name == n.name);
  }
  CHECK(names == std::vector<std::string>{"c", "c_3", "c_2", "add_2", "add_1", "relu", "relu_2"});
}

TEST_CASE("a graph is the network of the moment it was traced") {
  nn::ParamStore params;
  nn::Linear fc(params.root() / "fc", {.in = 3, .out = 2});
  const Tensor x = Layers(2).input({4, 3});
  const Graph g = nn::trace(fc, x);
  const Tensor before = fc(x);
  for (Tensor p : params.all()) p.fill(0.5);
  CHECK(max_difference(run(g, x), before) == 0);
  CHECK(max_difference(fc(x), before) > 0);
}

TEST_CASE("modules can be traced, and tracing leaves no gradient behind") {
  nn::ParamStore params;
  nn::Linear fc(params.root() / "fc", {.in = 3, .out = 2});
  const Tensor x = Layers(2).input({4, 3});
  const Graph g = nn::trace(fc, x);
  const Tensor y = run(g, x);
  CHECK(max_difference(y, fc(x)) == 0);
  CHECK_FALSE(y.requires_grad());
  CHECK(grad_enabled());
}

TEST_CASE("what depends on no input becomes a constant, and unused ops vanish") {
  const Tensor w = Layers(3).normal("w", {3}, 0, 1);
  const Graph g = nn::trace(
      [&](const Tensor& x) {
        exp(x);  // nobody reads it
        return x + relu(w * 2.0);
      },
      Tensor::zeros({2, 3}));
  REQUIRE(g.nodes.size() == 1);
  CHECK(g.nodes[0].is(opdef::functor<op::Add>));
  CHECK(g.is_constant(g.nodes[0].inputs[1]));
}

TEST_CASE("several inputs and outputs") {
  const std::vector<Tensor> in{Tensor::full({2}, 3), Tensor::full({2}, 4)};
  const Graph g = nn::trace(
      [](std::span<const Tensor> x) {
        return std::vector<Tensor>{x[0] * x[1], x[0] + x[1]};
      },
      in);
  const auto out = run(g, in);
  REQUIRE(out.size() == 2);
  CHECK(out[0].to_vector() == std::vector<double>{12, 12});
  CHECK(out[1].to_vector() == std::vector<double>{7, 7});
}

TEST_CASE("tracing refuses what a graph cannot say") {
  Layers l(4);
  const Tensor x = Tensor::zeros({2, 3, 4, 4});
  SECTION("batch norm that trains") {
    const auto bn = l.batch_norm("layer.bn", 3, true);
    CHECK_THROWS_WITH(nn::trace(bn, x), Contains("batch_norm") && Contains("layer.bn") && Contains("evaluation"));
  }
  SECTION("dropout that drops") {
    Generator g(1);
    CHECK_THROWS_WITH(nn::trace([&](const Tensor& t) { return dropout(t, 0.5, true, g); }, x), Contains("dropout"));
  }
  SECTION("an activation that went round the record") {
    CHECK_THROWS_WITH(nn::trace([](const Tensor& t) { return relu(exp(t).detach()); }, x), Contains("shares memory"));
  }
  SECTION("an activation that was written to") {
    const auto fn = [](const Tensor& t) {
      Tensor y = exp(t);
      y.fill(3);
      return relu(y);
    };
    CHECK_THROWS_WITH(nn::trace(fn, x), Contains("was written to"));
  }
  SECTION("a result that no op made") {
    CHECK_THROWS_AS(nn::trace([](const Tensor&) { return Tensor::zeros({1}); }, x), ValueError);
  }
}

TEST_CASE("a constant that is written to while tracing is two constants") {
  const auto fn = [](const Tensor& t) {
    Tensor s = Tensor::zeros({2});
    const Tensor y = t + s;
    s.fill(5);
    return y + s;
  };
  const Tensor x = Tensor::from(std::vector<float>{1, 2}, {2});
  CHECK(run(nn::trace(fn, x), x).to_vector() == fn(x).to_vector());
}

TEST_CASE("evaluating dropout leaves no trace") {
  Generator rng(1);
  const Graph g = nn::trace([&](const Tensor& t) { return relu(dropout(t, 0.5, false, rng)); }, Tensor::zeros({2}));
  CHECK(g.nodes.size() == 1);
}

namespace {
struct UnlistedBackward {
  static constexpr const char* op = "unlisted";
  Grads backward(const Tensor& gy, const Wants&) const { return {gy}; }
};
}  // namespace

TEST_CASE("an op that is in no list cannot be traced, and is named") {
  const auto fn = [](const Tensor& x) { return attach<UnlistedBackward>(x.clone(), {x}, {}); };
  CHECK_THROWS_WITH(nn::trace(fn, Tensor::zeros({2})), Contains("unlisted"));
}

TEST_CASE("sizes that stand for the batch follow the input") {
  const auto traced = [](const auto& fn, const Shape& x) {
    const Graph g = nn::trace(fn, Tensor::zeros(x));
    return g.nodes[0].options<ShapeOptions>().shape;
  };
  CHECK(traced([](const Tensor& x) { return reshape(x, {2, 12}); }, {2, 3, 4}) == Shape{-1, 12});
  CHECK(traced([](const Tensor& x) { return reshape(x, {6, 4}); }, {2, 3, 4}) == Shape{-1, 4});
  CHECK(traced([](const Tensor& x) { return reshape(x, {2, -1}); }, {2, 3, 4}) == Shape{-1, 12});
  CHECK(traced([](const Tensor& x) { return reshape(x, {-1, 2}); }, {2, 3, 4}) == Shape{-1, 2});
  CHECK(traced([](const Tensor& x) { return reshape(x, {3, -1}); }, {2, 3, 4}) == Shape{3, -1});
  CHECK(traced([](const Tensor& x) { return reshape(x, {4, 3, 2}); }, {2, 12}) == Shape{-1, 3, 2});
  CHECK(traced([](const Tensor& x) { return expand(x, {2, 5}); }, {2, 1}) == Shape{-1, 5});
  CHECK(traced([](const Tensor& x) { return expand(x, {7, 2, 5}); }, {2, 1}) == Shape{7, 2, 5});
}

TEST_CASE("one tensor may be two examples, and is no input where the function holds it besides") {
  const Tensor a = Layers(1).input({2, 3});
  const std::vector<Tensor> twice{a, a}, apart{Tensor::full({2, 3}, 5), Tensor::full({2, 3}, 2)};
  const Graph g = nn::trace([](std::span<const Tensor> in) { return std::vector<Tensor>{in[0] - in[1]}; }, twice);
  CHECK(run(g, apart)[0].to_vector() == std::vector<double>(6, 3));
  CHECK_THROWS_WITH(nn::trace([&](const Tensor& t) { return t + a; }, a), Contains("shares memory"));
  CHECK_THROWS_WITH(nn::trace([](const Tensor& t) { return relu(t); }, Tensor()), Contains("trace: example 0"));
}
