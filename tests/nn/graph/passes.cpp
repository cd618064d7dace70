#include "nn/graph/passes.h"

#include <algorithm>

#include "nn/graph/executor.h"
#include "nn/graph/trace.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;

namespace {

int count(const Graph& g, const std::string& op) {
  return int(std::count_if(g.nodes.begin(), g.nodes.end(),
                           [&](const nn::graph::Node& n) { return std::string_view(n.op->name) == op; }));
}

const nn::graph::Node& node(const Graph& g, const std::string& name) {
  const auto it =
      std::find_if(g.nodes.begin(), g.nodes.end(), [&](const nn::graph::Node& n) { return n.name == name; });
  REQUIRE(it != g.nodes.end());
  return *it;
}

}  // namespace

TEST_CASE("folding batch norm preserves the function") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : test_nets(seed, DType::f64)) {
    INFO(net.name);
    Layers data(seed + 1, DType::f64);
    const Graph g = nn::trace(net.fn, data.input(net.input));
    const Graph folded = fold_batch_norm(g);
    folded.validate();
    CHECK(count(folded, "batch_norm") == 0);
    const Tensor x = data.input(with_batch(net.input, 3));
    CHECK(max_difference(run(folded, x), run(g, x)) < 1e-12);
  }
}

TEST_CASE("the optimized graph computes the same function") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : test_nets(seed, DType::f64)) {
    INFO(net.name);
    Layers data(seed + 1, DType::f64);
    const Graph g = nn::trace(net.fn, data.input(net.input));
    const Graph fast = optimize(g);
    fast.validate();
    CHECK(count(fast, "conv2d") == 0);
    const Tensor x = data.input(with_batch(net.input, 3));
    CHECK(max_difference(run(fast, x), run(g, x)) < 1e-12);
  }
}

TEST_CASE("batch norm stays where it cannot be folded") {
  Layers l(1, DType::f64);
  const auto conv = l.conv("conv", 3, 4, 1), bn = l.batch_norm("bn", 4);
  const Tensor x = l.input({2, 3, 5, 5});
  SECTION("the convolution has another reader") {
    const Graph g = nn::trace(
        [&](const Tensor& t) {
          const Tensor y = conv(t);
          return bn(y) + y;
        },
        x);
    CHECK(count(fold_batch_norm(g), "batch_norm") == 1);
  }
  SECTION("no convolution before it") {
    const auto first = l.batch_norm("first", 3);
    CHECK(count(fold_batch_norm(nn::trace(first, x)), "batch_norm") == 1);
  }
}

TEST_CASE("a batch norm that nothing takes in becomes a convolution of its own") {
  Layers l(1, DType::f64);
  const auto first = l.batch_norm("first", 3), conv = l.conv("conv", 3, 4, 3), last = l.batch_norm("last", 4);
  const auto vector = l.batch_norm("vector", 4);
  const Layers::Fn fn = [&](const Tensor& t) {
    const Tensor y = conv(relu(first(t)));
    return relu(last(y)) + vector(global_avg_pool2d(y));
  };
  const Tensor x = l.input({2, 3, 5, 5});
  const Graph traced = optimize(nn::trace(fn, x)), g = fuse_conv(convolve_batch_norm(traced));
  CHECK(count(traced, "batch_norm") == 3);
  CHECK(count(g, "batch_norm") == 0);
  CHECK(count(g, "relu") == 0);  // the new convolutions took them in
  CHECK(max_difference(run(g, x), fn(x)) < 1e-12);
  CHECK(g.nodes[0].name == "first");
  // Of matrices they stay.
  const auto rows = l.batch_norm("rows", 5);
  CHECK(count(convolve_batch_norm(nn::trace(rows, l.input({4, 5}))), "batch_norm") == 1);
}

TEST_CASE("two batch norms in a row fold one after the other") {
  Layers l(2, DType::f64);
  const auto conv = l.conv("conv", 3, 4, 3, {}, false), a = l.batch_norm("a", 4), b = l.batch_norm("b", 4);
  const Tensor x = l.input({2, 3, 5, 5});
  const Graph g = nn::trace([&](const Tensor& t) { return b(a(conv(t))); }, x);
  const Graph folded = fold_batch_norm(g);
  CHECK(folded.nodes.size() == 1);
  CHECK(max_difference(run(folded, x), run(g, x)) < 1e-12);
}

TEST_CASE("of two batch norms in a row the second stays where the first one's result has another reader") {
  Layers l(2, DType::f64);
  const auto conv = l.conv("conv", 3, 4, 3, {}, false), a = l.batch_norm("a", 4), b = l.batch_norm("b", 4);
  const Tensor x = l.input({2, 3, 5, 5});
  SECTION("an op") {
    const Layers::Fn fn = [&](const Tensor& t) {
      const Tensor y = a(conv(t));
      return y + b(y);
    };
    const Graph g = nn::trace(fn, x), folded = fold_batch_norm(g);
    CHECK(count(folded, "batch_norm") == 1);
    CHECK(max_difference(run(folded, x), fn(x)) < 1e-12);
    CHECK(max_difference(run(fuse_conv(convolve_batch_norm(g)), x), fn(x)) < 1e-12);
  }
  SECTION("the graph's results") {
    Graph g = nn::trace([&](const Tensor& t) { return b(a(conv(t))); }, x);
    g.outputs.push_back(node(g, "b").inputs[0]);
    const std::vector<Tensor> before = run(g, std::vector{x}), after = run(fold_batch_norm(g), std::vector{x});
    for (size_t i = 0; i < 2; ++i) CHECK(max_difference(after[i], before[i]) < 1e-12);
  }
}

TEST_CASE("a residual network fuses into convolutions, the main branch taking the sum") {
  const TestNet net = residual(3);
  const Graph g = optimize(nn::trace(net.fn, Tensor::zeros(net.input)));
  CHECK(count(g, "conv2d_fused") == 6);
  CHECK(count(g, "add") == 0);
  CHECK(count(g, "relu") == 0);
  const nn::graph::Node& identity = node(g, "layer1.0.conv2");
  CHECK(identity.options<Conv2dFusedOptions>().relu);
  CHECK(identity.inputs[3] == node(g, "conv1").output);
  const nn::graph::Node &main = node(g, "layer2.0.conv2"), &down = node(g, "layer2.0.downsample.0");
  CHECK(main.inputs[3] == down.output);
  CHECK(main.options<Conv2dFusedOptions>().relu);
  CHECK(down.inputs[3] == kAbsent);
  CHECK_FALSE(down.options<Conv2dFusedOptions>().relu);
}

TEST_CASE("an add is not fused where it broadcasts, adds a constant or the convolution to itself") {
  Layers l(4);
  const auto conv = l.conv("conv", 3, 4, 1), pool = l.conv("pool", 3, 4, 5);
  const Tensor x = l.input({1, 3, 5, 5}), shift = l.normal("shift", {1, 4, 5, 5}, 0, 1);
  const auto nodes_with_add = [&](const Layers::Fn& fn) { return count(optimize(nn::trace(fn, x)), "add"); };
  CHECK(nodes_with_add([&](const Tensor& t) { return conv(t) + pool(t); }) == 1);
  CHECK(nodes_with_add([&](const Tensor& t) { return conv(t) + shift; }) == 1);
  CHECK(nodes_with_add([&](const Tensor& t) {
          const Tensor y = conv(t);
          return y + y;
        }) == 1);
}

TEST_CASE("a convolution whose sum is read twice keeps its value") {
  Layers l(5, DType::f64);
  const auto conv = l.conv("conv", 3, 3, 1);
  const Tensor x = l.input({2, 3, 4, 4});
  const Graph g = nn::trace(
      [&](const Tensor& t) {
        const Tensor y = conv(t) + t;
        return relu(y) + y;
      },
      x);
  const Graph fast = optimize(g);
  CHECK(count(fast, "relu") == 1);
  CHECK(max_difference(run(fast, x), run(g, x)) < 1e-12);
}

TEST_CASE("identities go away, dead code too") {
  const Tensor x = Layers(6).input({2, 3, 4, 4});
  const Graph g = nn::trace(
      [](const Tensor& t) {
        return relu(reshape(contiguous(t, MemoryFormat::channels_last), {2, 3, 4, 4}));
      },
      x);
  const Graph clean = remove_identity(g);
  CHECK(clean.nodes.size() == 1);
  CHECK(clean.values.size() == 2);
  CHECK(max_difference(run(clean, x), run(g, x)) == 0);
}

TEST_CASE("a batch norm whose constants do not fit the layer before it is not folded") {
  Layers l(2);
  const auto conv = l.conv("conv", 3, 4, 3, {}, false), bn = l.batch_norm("bn", 4);
  const Tensor x = l.input({2, 3, 5, 5});
  const Graph good = nn::trace([&](const Tensor& t) { return bn(conv(t)); }, x);
  for (const size_t input : {1, 2, 3, 4})
    for (const int64_t channels : {0, 1, 3}) {
      Graph g = good;
      g.nodes[1].inputs[input] = g.add_constant("short", Tensor::full({channels}, 1));
      const Graph same = fold_batch_norm(g);
      CHECK(count(same, "batch_norm") == 1);
      CHECK_THROWS_AS(run(same, x), ShapeError);
    }
}
