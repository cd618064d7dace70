#include "nn/graph/graph.h"

#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::nn::graph;
using Catch::Contains;

namespace {

// input -> relu -> add with a constant -> output
Graph small_graph() {
  Graph g;
  const int x = g.add_value({"x", {1, 3}, DType::f32, {}});
  const int c = g.add_constant("shift", Tensor::full({3}, 2));
  const int r = g.add_value({"r", {1, 3}, DType::f32, {}});
  const int y = g.add_value({"y", {1, 3}, DType::f32, {}});
  g.nodes.push_back({&opdef::functor<op::Relu>, "relu_1", {x}, r, {}});
  g.nodes.push_back({&opdef::functor<op::Add>, "add_1", {r, c}, y, {}});
  g.inputs = {x};
  g.outputs = {y};
  return g;
}

std::string complaint(const Graph& g) {
  try {
    g.validate();
  } catch (const ValueError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a graph that obeys the rules validates") { CHECK(complaint(small_graph()).empty()); }

TEST_CASE("validate names what breaks a rule") {
  SECTION("a value that is out of range") {
    Graph g = small_graph();
    g.nodes[1].inputs[0] = 99;
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("99"));
  }
  SECTION("a value read before it is made") {
    Graph g = small_graph();
    std::swap(g.nodes[0], g.nodes[1]);
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("before"));
  }
  SECTION("a value made twice") {
    Graph g = small_graph();
    g.nodes[1].output = g.nodes[0].output;
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("exists already"));
  }
  SECTION("two nodes of one name") {
    Graph g = small_graph();
    g.nodes[1].name = "relu_1";
    CHECK_THAT(complaint(g), Contains("relu_1"));
  }
  SECTION("a constant of another shape") {
    Graph g = small_graph();
    g.values[1].shape = {4};
    CHECK_THAT(complaint(g), Contains("shift") && Contains("[4]") && Contains("[3]"));
  }
  SECTION("a node without an op") {
    Graph g = small_graph();
    g.nodes[1].op = nullptr;
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("op"));
  }
  SECTION("options that the op does not have, or lacks") {
    Graph g = small_graph();
    g.nodes[1].attrs = {{"alpha", 1.5}};
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("attribute"));
    g.nodes[1] = {&opdef::functor<op::AddScalar>, "add_1", {2}, 3, {}};
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("value"));
    g.nodes[1].attrs = {{"value", std::vector<int64_t>{1}}};
    CHECK_THAT(complaint(g), Contains("add_1") && Contains("value"));
    g.nodes[1].attrs = {{"value", int64_t{1}}};
    CHECK(complaint(g).empty());
  }
  SECTION("an output that nothing makes") {
    Graph g = small_graph();
    g.nodes.pop_back();
    CHECK_THAT(complaint(g), Contains("output"));
  }
}

TEST_CASE("a node's options are read as the op wrote them, and errors name the node") {
  const Conv2dParams options{.stride = {1, 2}, .groups = 2};
  const nn::graph::Node n{&opdef::conv2d, "layer1.0.conv1", {}, 0, to_attrs(options)};
  CHECK(n.options<Conv2dParams>().stride == Hw(1, 2));
  CHECK(n.options<Conv2dParams>().groups == 2);
  CHECK_THROWS_AS((nn::graph::Node{nullptr, "none", {}, 0, {}}.options<ShapeOptions>()), ValueError);
  CHECK_THROWS_WITH(n.options<ShapeOptions>(), Contains("layer1.0.conv1") && Contains("shape"));
}

TEST_CASE("producers and use counts") {
  const Graph g = small_graph();
  CHECK(producers(g) == std::vector<int>{kAbsent, kAbsent, 0, 1});
  CHECK(use_counts(g) == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("to_string lists inputs, nodes with constants and attributes, outputs") {
  const std::string text = to_string(small_graph());
  CHECK_THAT(text, Contains("input  %0 f32[1,3]") && Contains("%2 f32[1,3] = relu(%0)  # relu_1") &&
                       Contains("add(%2, shift f32[3])  # add_1") && Contains("output %3"));
}

TEST_CASE("to_string shows options, and graphs that break the rules") {
  Graph g = small_graph();
  g.nodes[0] = {&opdef::expand, "expand_1", {0}, 2, to_attrs(ShapeOptions{{-1, 3}})};
  CHECK_THAT(to_string(g), Contains("expand(%0) {shape=[-1,3]}  # expand_1"));
  g.nodes[1] = {nullptr, "none", {77}, -3, {}};
  CHECK_THAT(to_string(g), Contains("none"));
  g.nodes[0] = {&opdef::pad, "pad_1", {0}, 2, {{"pads", std::vector<int64_t>(8, 1)}}};  // more than a shape has
  CHECK_THAT(to_string(g), Contains("{pads=[1,1,1,1,1,1,1,1]}"));
}

TEST_CASE("infer tells every value's shape for another batch, and names the node that takes none") {
  Graph g = small_graph();
  const std::vector<TensorInfo> wide{{{5, 3}, DType::f32}};
  CHECK(infer(g, wide)[3] == TensorInfo{{5, 3}, DType::f32});
  CHECK(infer(g, wide)[1] == TensorInfo{{3}, DType::f32});
  for (const TensorInfo& wrong : {TensorInfo{{5, 4}, DType::f32}, {{5}, DType::f32}, {{5, 3}, DType::f64}})
    CHECK_THROWS_AS(infer(g, std::span(&wrong, 1)), ShapeError);
  CHECK_THROWS_AS(infer(g, {}), ShapeError);
  g.nodes[0] = {&opdef::reshape, "reshape_1", {0}, 2, to_attrs(ShapeOptions{{1, 3}})};
  CHECK_THROWS_WITH(infer(g, wide), Contains("reshape_1"));
  g.nodes[0] = {&opdef::slice, "slice_1", {0}, 2, to_attrs(SliceOptions{0, 0, 1})};
  CHECK_THROWS_WITH(infer(g, wide), Contains("slice_1") && Contains("grow"));
}
