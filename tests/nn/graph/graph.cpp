#include "nn/graph/graph.h"

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
  g.nodes.push_back({"relu", "relu_1", {x}, r, {}});
  g.nodes.push_back({"add", "add_1", {r, c}, y, {{"alpha", 1.5}}});
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
  SECTION("an output that nothing makes") {
    Graph g = small_graph();
    g.nodes.pop_back();
    CHECK_THAT(complaint(g), Contains("output"));
  }
}

TEST_CASE("attributes are read by type and errors name the node") {
  nn::graph::Node n{"conv2d",
                    "layer1.0.conv1",
                    {},
                    0,
                    {{"groups", int64_t{2}}, {"stride", std::vector<int64_t>{1, 2}}, {"eps", 0.5}}};
  CHECK(n.integer("groups") == 2);
  CHECK(n.number("eps") == 0.5);
  CHECK(n.number("groups") == 2.0);
  CHECK(n.pair("stride") == Hw(1, 2));
  CHECK(n.find("nothing") == nullptr);
  CHECK_THROWS_WITH(n.integer("nothing"), Contains("layer1.0.conv1") && Contains("nothing"));
  CHECK_THROWS_AS(n.integer("eps"), ValueError);
  CHECK_THROWS_AS(n.list("groups"), ValueError);
}

TEST_CASE("producers and use counts") {
  const Graph g = small_graph();
  CHECK(producers(g) == std::vector<int>{kAbsent, kAbsent, 0, 1});
  CHECK(use_counts(g) == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("to_string lists inputs, nodes with constants and attributes, outputs") {
  const std::string text = to_string(small_graph());
  CHECK_THAT(text, Contains("input  %0 f32[1,3]") && Contains("%2 f32[1,3] = relu(%0)  # relu_1") &&
                       Contains("add(%2, shift f32[3]) {alpha=1.5}") && Contains("output %3"));
}
