#include "nn/graph/executor.h"

#include <algorithm>

#include "core/allocator.h"
#include "nn/graph/passes.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "ops/cast.h"
#include "ops/reduce.h"
#include "ops/registry.h"
#include "ops/softmax.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("every traced op runs from its graph with the same bits") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  Layers l(seed);
  const Tensor m = l.normal("m", {5, 6}, 0, 1), positive = l.uniform("p", {3, 5}, 1, 2);
  const Tensor image = l.input({3, 4, 6, 6}), rows = l.uniform("", {3, 5}, 1, 2);
  std::vector<std::pair<Layers::Fn, Tensor>> cases{
      {[&](const Tensor& x) { return matmul(x, m); }, rows},
      {[](const Tensor& x) { return softmax(x, 1); }, rows},
      {[](const Tensor& x) { return log_softmax(x, -1); }, rows},
      {[](const Tensor& x) { return sum(x, {1}, true); }, rows},
      {[](const Tensor& x) {
         return mean(x, {2, 3});
       },
       image},
      {[](const Tensor& x) { return amax(x, {1}); }, image},
      {[](const Tensor& x) { return argmax(x, 1); }, rows},
      {[](const Tensor& x) { return cast(x, DType::f64); }, rows},
      {[](const Tensor& x) {
         return permute(x, {0, 2, 3, 1});
       },
       image},
      {[](const Tensor& x) {
         return expand(reshape(x, {x.size(0), 5, 1}), {x.size(0), 5, 4});
       },
       rows},
      {[](const Tensor& x) { return slice(x, 2, 1, 6, 2); }, image},
      {[](const Tensor& x) {
         return cat({x, relu(x)}, 1);
       },
       image},
      {[](const Tensor& x) {
         return pad(x, {{0, 0}, {0, 0}, {1, 2}, {0, 1}}, 0.5);
       },
       image},
      {[](const Tensor& x) { return contiguous(x, MemoryFormat::channels_last); }, image},
      {[](const Tensor& x) { return max_pool2d(x, {.kernel = 3, .stride = 2, .padding = 1}); }, image},
      {[](const Tensor& x) { return avg_pool2d(x, {.kernel = 3, .stride = 2, .padding = 1}, false); }, image},
      {[](const Tensor& x) { return (x * 2.0 - 1.0) / 3.0; }, rows},
  };
  op::for_each_functor(op::UnaryOps(),
                       [&]<class Op>() { cases.emplace_back([](const Tensor& x) { return unary<Op>(x); }, rows); });
  op::for_each_functor(op::BinaryOps(), [&]<class Op>() {
    cases.emplace_back([&](const Tensor& x) { return binary<Op>(x, positive); }, rows);
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i);
    const auto& [fn, x] = cases[i];
    const Graph g = nn::trace(fn, x);
    REQUIRE_FALSE(g.nodes.empty());
    const Tensor y = run(g, x), expected = fn(x);
    CHECK(y.dtype() == expected.dtype());
    CHECK(max_difference(y, expected) == 0);
    const Program program(g);
    for (const Tensor& in : {x, x * 1.25, x}) CHECK(max_difference(program(in), fn(in)) == 0);
  }
}

TEST_CASE("an observer sees the input and every node's value, in order") {
  const TestNet net = vgg(1);
  const Tensor x = Layers(2).input(net.input);
  const Graph g = nn::trace(net.fn, x);
  std::vector<int> seen;
  run(g, x, [&](int id, const Tensor& v) {
    CHECK(v.shape() == g.values[size_t(id)].shape);
    seen.push_back(id);
  });
  std::vector<int> expected = g.inputs;
  for (const nn::graph::Node& n : g.nodes) expected.push_back(n.output);
  CHECK(seen == expected);
}

TEST_CASE("intermediate values are freed after their last use") {
  const Tensor x = Tensor::zeros({1 << 16});
  const Graph g = nn::trace(
      [](Tensor t) {
        for (int i = 0; i < 50; ++i) t = t + 1.0;
        return t;
      },
      x);
  const size_t before = allocator(Device::cpu()).stats().live_bytes;
  size_t top = 0;
  const Tensor y =
      run(g, x, [&](int, const Tensor&) { top = std::max(top, allocator(Device::cpu()).stats().live_bytes - before); });
  CHECK(y.to_vector()[0] == 50);
  CHECK(top <= 3 * x.numel() * sizeof(float));
}

TEST_CASE("running refuses wrong inputs and a node without an op by name") {
  const TestNet net = vgg(1);
  Graph g = nn::trace(net.fn, Tensor::zeros(net.input));
  CHECK_THROWS_AS(run(g, Tensor::zeros({2, 3, 12, 13})), ShapeError);
  CHECK_THROWS_AS(run(g, Tensor::zeros({2, 3, 12, 12}, DType::f64)), ShapeError);
  CHECK_THROWS_AS(run(g, std::span<const Tensor>()), ShapeError);
  g.nodes[2].op = nullptr;
  CHECK_THROWS_WITH(run(g, Tensor::zeros(net.input)), Contains(g.nodes[2].name));
}

namespace {

// A function of [N,4].
struct BatchCase {
  std::string node;  // whose shape is tied to the traced batch; none: any batch will do
  Layers::Fn fn;
  std::vector<int64_t> ambiguous = {};  // batches to trace with that are also another size of the function
};

Tensor two_rows() { return Layers(1).normal("rows", {2, 4}, 0, 1); }

const BatchCase kBatchCases[] = {
    {"",
     [](const Tensor& x) {
       return reshape(reshape(x, {x.size(0) * 2, 2}), {x.size(0), -1});
     }},
    {"",
     [](const Tensor& x) {
       return mean(reshape(relu(flatten(x, 0)), {x.size(0), -1}), {1});
     }},
    {"",
     [](const Tensor& x) {
       return reshape(softmax(reshape(x, {x.size(0) * 2, 2}), 1), {x.size(0), 2, 2});
     }},
    {"slice_1", [](const Tensor& x) { return slice(x, 0, 0, x.size(0)); }},
    {"slice_1", [](const Tensor& x) { return slice(x, 0, 0, 1); }},
    {"slice_1",
     [](const Tensor& x) {
       return relu(slice(permute(x, {1, 0}), 1, 0, x.size(0)));
     }},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(x, {2, -1});
     },
     {2}},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(x, {4, -1});
     }},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(x, {x.size(0) * 2, 2});
     }},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(permute(x, {1, 0}), {4, x.size(0), 1});
     }},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(x, {3, x.size(0), -1});
     },
     {1, 3}},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(cat({x, x, x}, 1), {3, x.size(0), 4});
     },
     {1, 3}},
    {"reshape_1",
     [](const Tensor& x) {
       return reshape(cat({x, x, x}, 1), {1, x.size(0) * 3, 4});
     },
     {1, 3}},
    {"reshape_2",
     [](const Tensor& x) {
       return reshape(relu(reshape(cat({x, x, x}, 1), {x.size(0) * 3, 4})), {x.size(0), -1, 4});
     },
     {1, 3}},
    {"reshape_2",
     [](const Tensor& x) {
       return permute(reshape(relu(reshape(permute(x, {1, 0}), {4, -1})), {4, x.size(0), -1}), {1, 0, 2});
     },
     {1}},
    {"",
     [](const Tensor& x) {
       return reshape(sum(x, {0}), {2, -1});
     }},
    {"flatten_1", [](const Tensor& x) { return flatten(x, 0); }},
    {"expand_1",
     [](const Tensor& x) {
       return expand(mean(x, {0}, true), {x.size(0), 4});
     }},
    {"expand_1",
     [](const Tensor& x) {
       return expand(x, {5, x.size(0), 4});
     }},
    {"expand_1",
     [](const Tensor& x) {
       return expand(x, {4, 4});
     }},
    {"cat_1",
     [](const Tensor& x) {
       return cat({x, Tensor::zeros({1, 4})}, 0);
     }},
    {"cat_1",
     [](const Tensor& x) {
       return cat({x, Tensor::zeros({x.size(0), 3})}, 1);
     }},
    {"cat_1",
     [](const Tensor& x) {
       return cat({x, relu(x)}, 0);
     }},
    {"pad_1",
     [](const Tensor& x) {
       return pad(x, {{0, 4 - x.size(0)}, {0, 0}});
     }},
    {"add_1", [](const Tensor& x) { return x + slice(two_rows(), 0, 0, std::min<int64_t>(x.size(0), 2)); }, {1}},
    {"", [](const Tensor& x) { return mean(x, {0}); }},
    {"",
     [](const Tensor& x) {
       return sum(x, {0, 1});
     }},
    {"",
     [](const Tensor& x) {
       return permute(relu(permute(x, {1, 0})), {1, 0});
     }},
    {"",
     [](const Tensor& x) {
       return matmul(permute(x, {1, 0}), x);
     }},
};

}  // namespace

TEST_CASE("a run with another batch gives what the function gives, or an error that names the node") {
  Layers l(1);
  for (const int64_t traced : {1, 2, 3})
    for (const int64_t n : {1, 2, 4})
      for (const BatchCase& c : kBatchCases) {
        if (std::find(c.ambiguous.begin(), c.ambiguous.end(), traced) != c.ambiguous.end()) continue;
        INFO("case " << &c - kBatchCases << ", traced with " << traced << " rows, run with " << n);
        const Tensor x = l.input({n, 4});
        Graph g;
        Tensor expected;
        try {
          g = nn::trace(c.fn, l.input({traced, 4}));
          expected = c.fn(x);
        } catch (const ShapeError&) {
          continue;  // the function itself cannot
        }
        try {
          const Tensor y = run(g, x);
          CHECK(max_difference(y, expected) == 0);
          CHECK(max_difference(Program(g)(x), expected) == 0);
        } catch (const ShapeError& e) {
          CHECK(c.node != "");
          CHECK(n != traced);
          const std::string op = c.node.substr(0, c.node.find('_'));
          CHECK_THAT(std::string(e.what()), Contains(c.node) || Contains(op + ":"));  // the op's own error
        }
      }
}

TEST_CASE("what is a reshape to the same shape for the traced batch alone is not dropped") {
  const auto same = [](const auto& fn, const Shape& traced, const Shape& shape) {
    const Graph g = nn::trace(fn, Layers(1).input(traced));
    const Tensor x = Layers(2).input(shape);
    return max_difference(run(optimize(g), x), fn(x)) == 0 && max_difference(Program(optimize(g))(x), fn(x)) == 0;
  };
  CHECK(same([](const Tensor& x) { return reshape(transpose(sum(x, {1}, true), 0, 1), {-1, 1}); }, {1, 5}, {4, 5}));
  CHECK(same([](const Tensor& x) { return relu(reshape(x, {x.size(0), 5})); }, {2, 5}, {4, 5}));
  const Graph square = nn::trace(
      [](const Tensor& x) {
        return reshape(transpose(x, 0, 1), {-1, 2});
      },
      Layers(1).input({2, 2}));
  CHECK_THROWS_AS(run(optimize(square), Layers(1).input({4, 2})), ShapeError);
}

TEST_CASE("an input that is no batch stays as it is") {
  const Tensor y = Layers(3).input({1, 8});
  const auto fn = [](std::span<const Tensor> in) {
    return std::vector<Tensor>{reshape(in[0] + in[1], {in[0].size(0), -1, 4})};
  };
  const std::vector<Tensor> example{Layers(1).input({2, 8}), y}, other{Layers(2).input({4, 8}), y};
  const Graph g = nn::trace(fn, example);
  CHECK(max_difference(run(g, other)[0], fn(other)[0]) == 0);
}

TEST_CASE("inputs grow together") {
  const std::vector<Tensor> examples{Tensor::zeros({1, 3}), Tensor::zeros({2, 3})};
  const Graph g = nn::trace(
      [](std::span<const Tensor> x) {
        return std::vector<Tensor>{relu(x[0]), relu(x[1])};
      },
      examples);
  CHECK(run(g, std::vector<Tensor>{Tensor::zeros({3, 3}), Tensor::zeros({6, 3})})[1].size(0) == 6);
  CHECK_THROWS_AS(run(g, std::vector<Tensor>{Tensor::zeros({3, 3}), Tensor::zeros({4, 3})}), ShapeError);
}

TEST_CASE("every op says how many inputs it takes, and a graph that gives fewer or more is refused") {
  const auto graph = [](const std::string& op, std::vector<int> inputs, Attrs attrs = {}) {
    Graph g;
    const Shape shape{1, 3};
    const int x = g.add_value({"x", shape, DType::f32, {}}), y = g.add_value({"y", shape, DType::f32, {}});
    g.nodes.push_back({find_op(op), "bad", std::move(inputs), y, std::move(attrs)});
    g.inputs = {x};
    g.outputs = {y};
    return g;
  };
  const std::pair<std::string, std::vector<int>> broken[] = {
      {"expand", {}},           {"reshape", {}},
      {"reshape", {kAbsent}},   {"add", {0}},
      {"add", {0, kAbsent}},    {"add", {0, 0, 0}},
      {"linear", {0}},          {"linear", {0, kAbsent, 0}},
      {"conv2d", {0, 0}},       {"cat", {}},
      {"cat", {0, kAbsent}},    {"relu", {kAbsent}},
      {"conv2d_fused", {0, 0}}, {"batch_norm", {0, kAbsent, kAbsent}},
      {"contiguous", {}},       {"add_scalar", {}},
      {"relu", {99}},           {"relu", {-5}}};
  const Tensor x = Tensor::zeros({1, 3});
  for (const auto& [op, inputs] : broken) {
    INFO(op << " with " << inputs.size() << " inputs");
    const Graph g = graph(op, inputs);
    CHECK_THROWS_WITH(g.validate(), Contains("bad"));
    CHECK_THROWS_AS(run(g, x), ValueError);
    CHECK_THROWS_AS(optimize(g), ValueError);
    CHECK_THROWS_AS(eliminate_dead_code(g), ValueError);
    CHECK_THROWS_AS(Program(g), ValueError);
    CHECK_FALSE(to_string(g).empty());
  }
  for (void (*breaks)(Graph&) : {+[](Graph& g) { g.outputs = {77}; }, +[](Graph& g) { g.inputs = {-1}; },
                                 +[](Graph& g) { g.nodes[0].output = 99; }}) {
    Graph g = graph("relu", {0});
    breaks(g);
    CHECK_THROWS_AS(run(g, x), ValueError);
    CHECK_THROWS_AS(optimize(g), ValueError);
    CHECK_FALSE(to_string(g).empty());
  }
}

TEST_CASE("dimensions that an int does not hold are refused, not truncated") {
  const Tensor x = Tensor::zeros({1, 3});
  const auto refuses = [&](const auto& fn, const std::string& attr, const AttrValue& value) {
    Graph g = nn::trace(fn, x);
    for (Attr& a : g.nodes[0].attrs)
      if (a.name == attr) a.value = value;
    CHECK_THROWS_WITH(run(g, x), Contains(attr) && Contains(g.nodes[0].name));
  };
  const int64_t one = (int64_t{1} << 32) + 1, minus_one = std::numeric_limits<int64_t>::max();
  const std::vector<int64_t> list{one};
  refuses([](const Tensor& t) { return mean(t, {1}); }, "dims", list);
  refuses([](const Tensor& t) { return sum(t, {1}); }, "dims", list);
  refuses([](const Tensor& t) { return amax(t, {1}); }, "dims", list);
  refuses([](const Tensor& t) { return permute(t, {1, 0}); }, "dims", std::vector<int64_t>{one, 0});
  refuses([](const Tensor& t) { return softmax(t, 1); }, "dim", minus_one);
  refuses([](const Tensor& t) { return log_softmax(t, 1); }, "dim", minus_one);
  refuses([](const Tensor& t) { return argmax(t, 1); }, "dim", minus_one);
  refuses([](const Tensor& t) { return slice(t, 1, 0, 2); }, "dim", minus_one);
  refuses([](const Tensor& t) { return cat({t, t}, 1); }, "dim", minus_one);
  refuses([](const Tensor& t) { return pad(t, {{0, 0}, {0, 1}}); }, "pads", std::vector<int64_t>{0, 0, 0});
}
