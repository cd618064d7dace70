#include "quant/weights/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "nn/graph/executor.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "quant/replay.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph, nn::graph::kAbsent, nn::graph::Node;

// Adds numbers up per channel as integers, in steps of 1/256 of a unit of the bias: no order of addition shows.
class ChannelSums {
 public:
  explicit ChannelSums(std::vector<double> unit) : unit_(std::move(unit)), sum_(unit_.size(), 0) {}

  // The first n rows of y, f32 [N,C] or [N,C,H,W].
  void add(const Tensor& y, int64_t n) {
    const CView v = y.view();
    const bool map = v.shape.rank() == 4;
    const int64_t h = map ? v.shape[2] : 1, w = map ? v.shape[3] : 1;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < h; ++j)
        for (int64_t k = 0; k < w; ++k) {
          const float* p = v.as<float>() + i * v.strides[0] + (map ? j * v.strides[2] + k * v.strides[3] : 0);
          for (size_t c = 0; c < sum_.size(); ++c, p += v.strides[1])
            sum_[c] += std::llrint(std::clamp(double(*p) / unit_[c], -kLargest, kLargest) * kSteps);
        }
    count_ += n * h * w;
  }

  // mean(this) - mean(other), in units.
  double minus(const ChannelSums& other, size_t c) const {
    return (double(sum_[c]) / double(count_) - double(other.sum_[c]) / double(other.count_)) / kSteps;
  }

 private:
  static constexpr double kSteps = 256, kLargest = 2147483648.0;  // what an int8 layer can sum up at most
  std::vector<double> unit_;
  std::vector<int64_t> sum_;
  int64_t count_ = 0;
};

// A unit of each output channel's bias.
std::vector<double> bias_units(const Graph& g, const Node& layer) {
  const double x_scale = double(g.values[size_t(layer.inputs[0])].qparams->scale);
  const double unit = layer.is(opdef::qlinear) ? x_scale / double(layer.options<QLinearOptions>().pixels) : x_scale;
  std::vector<double> units = g.values[size_t(layer.inputs[2])].constant.to_vector();
  for (double& u : units) u *= unit;
  return units;
}

// The same graph with every convolution's relu as a node of its own, so that a run shows the sum before it.
Graph with_visible_sums(Graph g) {
  std::unordered_set<std::string> names;
  for (const Node& n : g.nodes) names.insert(n.name);
  std::vector<Node> nodes;
  for (Node& n : g.nodes) {
    nodes.push_back(n);
    if (!n.is(opdef::conv2d_fused)) continue;
    auto options = n.options<Conv2dFusedOptions>();
    if (!std::exchange(options.relu, false)) continue;
    nn::graph::Value sum = g.values[size_t(n.output)];
    sum.name += ".sum";
    const int id = g.add_value(std::move(sum));
    nodes.back().output = id;
    nodes.back().attrs = to_attrs(options);
    Node activation;
    activation.op = &opdef::functor<op::Relu>;
    activation.name = n.name + ".relu";
    while (!names.insert(activation.name).second) activation.name += '_';
    activation.inputs = {id};
    activation.output = n.output;
    nodes.push_back(std::move(activation));
  }
  g.nodes = std::move(nodes);
  return g;
}

// A layer's sums as real numbers, before its activation function.
Tensor sums_of(const Node& layer, std::span<const Tensor> in) {
  if (layer.is(opdef::qlinear)) return layer.op->call(in, layer.attrs);
  auto options = layer.options<QConv2dOptions>();
  options.y = {0, 0};
  return layer.op->call(in, to_attrs(options));
}

Tensor shifted(const Node& layer, const Tensor& bias, const std::vector<double>& shift) {
  Tensor out = Tensor::empty(bias.shape(), DType::i32);
  const auto from = bias.data<int32_t>();
  const auto to = out.mutable_data<int32_t>();
  for (size_t i = 0; i < from.size(); ++i) {
    const double v = double(from[i]) + std::nearbyint(shift[i % shift.size()]);
    if (std::abs(v) > double(std::numeric_limits<int32_t>::max()))
      throw ValueError(message("bias correction: the bias of ", layer.name, " would leave 32 bits"));
    to[i] = int32_t(v);
  }
  return out;
}

}  // namespace

Int8Model correct_bias(Int8Model model, const Graph& g, const std::function<void(const BatchFn&)>& replay) {
  g.validate();
  const Graph visible = with_visible_sums(g);
  std::unordered_map<std::string, int> output_of;  // per node
  for (const Node& n : visible.nodes) output_of[n.name] = n.output;
  std::unordered_map<int, ChannelSums> exact;  // per value of the float graph
  for (const Node& n : model.graph.nodes)
    if (is_int8_layer(n)) exact.emplace(output_of.at(n.name), bias_units(model.graph, n));
  replay([&](const Tensor& x, const Tensor& quantized) {
    nn::graph::run(visible, x, [&](int id, const Tensor& v) {
      if (const auto it = exact.find(id); it != exact.end())
        it->second.add(v, v.size(0) / x.size(0) * quantized.size(0));
    });
  });

  Replay int8(model.graph);
  replay([&](const Tensor&, const Tensor& x) { int8.enter(x.clone()); });
  for (const Node& n : model.graph.nodes) {
    if (is_int8_layer(n)) {
      const std::vector<double> units = bias_units(model.graph, n);
      ChannelSums sums(units);
      int8.each(n, [&](std::span<const Tensor> in) {
        const Tensor y = sums_of(n, in);
        sums.add(y, y.size(0));
      });
      const ChannelSums& wanted = exact.at(output_of.at(n.name));
      std::vector<double> shift;
      for (size_t o = 0; o < units.size(); ++o) shift.push_back(wanted.minus(sums, o));
      Tensor& bias = model.graph.values[size_t(n.inputs[3])].constant;
      bias = shifted(n, bias, shift);
    }
    int8.pass(n);
  }
  return model;
}

}  // namespace mininn::quant
