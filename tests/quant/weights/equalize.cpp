#include "quant/weights/equalize.h"

#include <algorithm>

#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using nn::graph::Graph;

namespace {

Graph optimized(const TestNet& net, DType dtype) {
  return nn::graph::optimize(nn::trace(net.fn, Tensor::zeros(net.input, dtype)));
}

const nn::graph::Node& node(const Graph& g, const std::string& name) {
  const auto it =
      std::find_if(g.nodes.begin(), g.nodes.end(), [&](const nn::graph::Node& n) { return n.name == name; });
  REQUIRE(it != g.nodes.end());
  return *it;
}

std::vector<double> weights(const Graph& g, const std::string& name) {
  return g.values[size_t(node(g, name).inputs[1])].constant.to_vector();
}

// max |w| of an output channel, or of an input channel in `inputs` groups of `taps` numbers.
double output_range(const std::vector<double>& w, size_t outputs, size_t o) {
  double top = 0;
  for (size_t i = 0; i < w.size() / outputs; ++i) top = std::max(top, std::abs(w[o * (w.size() / outputs) + i]));
  return top;
}
double input_range(const std::vector<double>& w, size_t outputs, size_t inputs, size_t c) {
  const size_t taps = w.size() / outputs / inputs;
  double top = 0;
  for (size_t o = 0; o < outputs; ++o)
    for (size_t t = 0; t < taps; ++t) top = std::max(top, std::abs(w[(o * inputs + c) * taps + t]));
  return top;
}

// Two convolutions whose ranges differ by orders of magnitude from channel to channel.
TestNet uneven(uint64_t seed, DType dtype) {
  Layers l(seed, dtype);
  const Tensor w1 = l.normal("a.weight", {8, 3, 3, 3}, 0, 1), b1 = l.normal("a.bias", {8}, 0, 0.3);
  const Tensor w2 = l.normal("b.weight", {6, 8, 3, 3}, 0, 0.2), b2 = l.normal("b.bias", {6}, 0, 0.3);
  const auto scaled = [&](const Tensor& w, size_t row, bool inverse) {  // channel c of w1's 8 by 4^(c-4)
    std::vector<double> v = w.to_vector();
    for (size_t i = 0; i < v.size(); ++i) v[i] *= std::pow(4.0, (inverse ? -1.0 : 1.0) * (double(i / row % 8) - 4));
    Tensor t = Tensor::empty(w.shape(), dtype);
    t.copy_from(Tensor::from(v, w.shape()));
    return t.set_name(w.name());
  };
  const Tensor v1 = scaled(w1, 27, false), c1 = scaled(b1, 1, false), v2 = scaled(w2, 9, true);
  return {"uneven", {2, 3, 8, 8}, [=](const Tensor& x) {
            return conv2d(relu(conv2d(x, v1, c1, {.padding = 1})), v2, b2, {.padding = 1});
          }};
}

}  // namespace

TEST_CASE("equalizing preserves the function") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  std::vector<TestNet> nets = test_nets(seed, DType::f64);
  nets.push_back(uneven(seed, DType::f64));
  for (const TestNet& net : nets) {
    INFO(net.name);
    const Graph g = optimized(net, DType::f64), even = equalize(g);
    even.validate();
    const Tensor x = Layers(seed + 1, DType::f64).input(with_batch(net.input, 3));
    CHECK(max_difference(nn::graph::run(even, x), nn::graph::run(g, x)) < 1e-11);
  }
}

TEST_CASE("equalizing makes the ranges of two layers equal, channel by channel") {
  const Graph even = equalize(optimized(uneven(3, DType::f64), DType::f64));
  const auto a = weights(even, "a"), b = weights(even, "b");
  for (size_t c = 0; c < 8; ++c) CHECK(output_range(a, 8, c) == Approx(input_range(b, 6, 8, c)));
}

TEST_CASE("equalizing goes through pooling, flatten and groups") {
  const Graph vgg_even = equalize(optimized(vgg(4, DType::f64), DType::f64));
  const auto conv = weights(vgg_even, "features.3"), fc = weights(vgg_even, "classifier.0");
  for (size_t c = 0; c < 12; ++c) CHECK(output_range(conv, 12, c) == Approx(input_range(fc, 16, 12, c)).epsilon(0.05));

  Layers l(5, DType::f64);
  const auto first = l.conv("first", 3, 8, 3), grouped = l.conv("grouped", 8, 4, 1, {.groups = 2});
  const TestNet net{"grouped", {1, 3, 6, 6}, [=](const Tensor& x) { return grouped(relu(first(x))); }};
  const Graph even = equalize(optimized(net, DType::f64));
  const auto a = weights(even, "first"), b = weights(even, "grouped");
  for (size_t c = 0; c < 8; ++c) {
    const size_t group = c / 4;  // outputs 0 and 1 read channels 0..3, outputs 2 and 3 channels 4..7
    const double range = std::max(std::abs(b[(2 * group) * 4 + c % 4]), std::abs(b[(2 * group + 1) * 4 + c % 4]));
    CHECK(output_range(a, 8, c) == Approx(range));
  }
}

TEST_CASE("equalizing leaves residual streams, clipped activations and shared weights alone") {
  const Graph g = optimized(residual(6), DType::f32), even = equalize(g);
  for (const char* name : {"conv1", "layer2.0.downsample.0", "fc"}) CHECK(weights(even, name) == weights(g, name));
  CHECK(weights(even, "layer1.0.conv1") != weights(g, "layer1.0.conv1"));
  CHECK(weights(even, "layer1.0.conv2") != weights(g, "layer1.0.conv2"));

  Layers l(7);
  const auto a = l.conv("a", 3, 3, 1), b = l.conv("b", 3, 3, 1);
  const auto unchanged = [&](const Layers::Fn& fn) {
    const Graph before = optimized({"", {1, 3, 4, 4}, fn}, DType::f32), after = equalize(before);
    for (const nn::graph::Node& n : before.nodes)
      if (n.is(opdef::conv2d_fused)) CHECK(weights(after, n.name) == weights(before, n.name));
  };
  unchanged([&](const Tensor& x) { return b(relu6(a(x))); });
  unchanged([&](const Tensor& x) { return a(relu(a(x))); });
  unchanged([&](const Tensor& x) {
    const Tensor y = relu(a(x));
    return b(y) + relu(y);
  });
}

TEST_CASE("equalized networks lose less to one weight scale per tensor") {
  const TestNet net = uneven(8, DType::f32);
  const auto sqnr = [&](bool even) {
    CalibratorOptions o;
    o.per_channel = false;
    o.equalize = even;
    const Int8Net int8 = calibrated(net, 9, false, o).compile();
    CHECK(int8.model().calibration.contains("equalization") == even);
    return int8.model().layers.back().sqnr_total;
  };
  CHECK(sqnr(true) > sqnr(false) + 10);
}
