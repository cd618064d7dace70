#include "quant/replay.h"

#include "nn/graph/executor.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;

TEST_CASE("a replay shows each node of each batch what a run of the whole network gives it") {
  for (const TestNet& net : {residual(1), vgg(1), mobile(1)}) {
    INFO(net.name);
    const nn::graph::Graph g = nn::trace(net.fn, Tensor::zeros(net.input));
    const std::vector<Tensor> batches{random_input(net, 3, false, 1), random_input(net, 5, false, 2)};
    std::vector<std::vector<Tensor>> exact;  // of each batch, by value
    Replay replay(g);
    for (const Tensor& x : batches) {
      exact.emplace_back(g.values.size());
      nn::graph::run(g, x, [&](int id, const Tensor& v) { exact.back()[size_t(id)] = v.clone(); });
      replay.enter(x);
    }
    bool equal = true;
    for (const nn::graph::Node& n : g.nodes) {
      size_t batch = 0;
      replay.each(n, [&](std::span<const Tensor> in) {
        for (size_t i = 0; i < in.size(); ++i)
          if (in[i] && !g.is_constant(n.inputs[i]))
            equal = equal && in[i].to_vector() == exact[batch][size_t(n.inputs[i])].to_vector();
        ++batch;
      });
      CHECK(batch == batches.size());
      replay.pass(n);
    }
    CHECK(equal);
  }
}

TEST_CASE("what is written to a constant counts for the nodes that come after") {
  nn::graph::Graph g;
  g.inputs = {g.add_value({.name = "x", .shape = {1}, .dtype = DType::f32, .constant = {}})};
  const int c = g.add_constant("c", Tensor::full({1}, 2));
  const int y = g.add_node(opdef::functor<op::Mul>, "first", {0, c});
  g.outputs = {g.add_node(opdef::functor<op::Mul>, "second", {y, c})};
  Replay replay(g);
  replay.enter(Tensor::full({1}, 1));
  replay.pass(g.nodes[0]);
  g.values[size_t(c)].constant = Tensor::full({1}, 5);
  replay.each(g.nodes[1], [](std::span<const Tensor> in) {
    CHECK(in[0].item() == 2);
    CHECK(in[1].item() == 5);
  });
}
