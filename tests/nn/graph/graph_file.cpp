#include "nn/graph/graph_file.h"

#include <array>

#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;
using Catch::Contains;

namespace {

// The graph, saved and loaded.
Graph through_file(const Graph& g) {
  const TempFolder folder;
  save_graph(folder / "graph", g);
  const std::string bytes = read_file(folder / "graph");
  Graph loaded = load_graph(folder / "graph");
  save_graph(folder / "graph", loaded);
  CHECK(read_file(folder / "graph") == bytes);
  return loaded;
}

Tensor end_in_codes(const Tensor& x) { return dequantize(quantize(x, {0.05f, 100})); }

}  // namespace

TEST_CASE("float graphs compute the same bits behind their file") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : test_nets(seed))
    for (const bool optimized : {false, true}) {
      INFO(net.name);
      Graph g = nn::trace(net.fn, Tensor::zeros(net.input));
      if (optimized) g = optimize(std::move(g));
      const Graph loaded = through_file(g);
      const Tensor x = Layers(seed + 1).input(with_batch(net.input, 3));
      CHECK(run(loaded, x).to_vector() == run(g, x).to_vector());
    }
}

TEST_CASE("a graph of float ops and ops on codes, with two inputs and two outputs, survives its file") {
  Layers l(3);
  const auto conv = l.conv("conv", 3, 4, 3, {.padding = 1});
  const Graph g = nn::trace(
      [&](std::span<const Tensor> in) {
        const Tensor codes = end_in_codes(conv(in[0]));
        return std::vector<Tensor>{softmax(codes, 1),
                                   mean(pad(codes, {{0, 0}, {0, 0}, {1, 0}, {0, 2}}, 0.5), {2, 3}) + in[1]};
      },
      std::array{Tensor::zeros({2, 3, 5, 5}), Tensor::zeros({2, 4})});
  const Program program(through_file(g));
  for (const int64_t n : {1, 7, 64}) {
    const std::array in{l.input({n, 3, 5, 5}), l.input({n, 4})};
    const auto wanted = run(g, in), got = program.run(in);
    REQUIRE(got.size() == 2);
    for (size_t i = 0; i < 2; ++i) CHECK(got[i].to_vector() == wanted[i].to_vector());
  }
}

TEST_CASE("constants of one name, and of none, keep apart") {
  Graph g;
  g.inputs = {g.add_value({.name = "x", .shape = {1, 2}, .dtype = DType::f32, .constant = {}})};
  int y = 0;
  for (const double v : {1, 20, 300})
    y = g.add_node(opdef::functor<op::Add>, message("add", v),
                   {y, g.add_constant(v > 20 ? "" : "same", Tensor::full({1, 2}, v))});
  g.outputs = {y};
  CHECK(run(through_file(g), Tensor::zeros({1, 2})).to_vector() == std::vector<double>{321, 321});
}

TEST_CASE("graphs that no file holds are refused, and an old file stays") {
  const TempFolder folder;
  write_file(folder / "graph", "old");
  Graph good = nn::trace([](const Tensor& x) { return softmax(x, 1) * 2.0; }, Tensor::zeros({1, 2}));
  const auto refused = [&](auto change) {
    Graph g = good;
    change(g);
    CHECK_THROWS_AS(save_graph(folder / "graph", g), FileError);
    CHECK(read_file(folder / "graph") == "old");
  };
  refused([](Graph& g) { g.outputs = {99}; });
  refused([](Graph& g) { g.nodes[0].name = "\xff"; });
  refused([](Graph& g) { g.nodes[1].attrs[0].value = double(INFINITY); });
  refused([](Graph& g) { g.values[size_t(g.inputs[0])].qparams = QParams{}; });
}

TEST_CASE("graph files that are none are refused with their name") {
  const TempFolder folder;
  const std::filesystem::path path = folder / "graph";
  CHECK_THROWS_AS(load_graph(path), FileError);
  nn::SafeTensors other;
  other.tensors.emplace_back("w", Tensor::zeros({2}));
  other.write(path);
  CHECK_THROWS_WITH(load_graph(path), Contains(path.string()) && Contains("no graph file"));
  save_graph(path, nn::trace([](const Tensor& x) { return softmax(x, 1); }, Tensor::zeros({1, 2})));
  nn::SafeTensors changed = nn::SafeTensors::read(path);
  changed.metadata["graph"] += ' ';
  changed.write(path);
  CHECK_THROWS_WITH(load_graph(path), Contains("sha256"));
  changed.metadata["graph"] = "{";
  changed.metadata["sha256"] = content_hash(changed);
  changed.write(path);
  CHECK_THROWS_WITH(load_graph(path), Contains("no valid JSON"));
}
