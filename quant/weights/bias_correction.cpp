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
#include "quant/int8_net.h"

namespace mininn::quant {
namespace {

// Adds numbers up per channel as integers, in steps of 1/256 of a unit of the bias: no order of addition shows.
class ChannelSums {
 public:
  explicit ChannelSums(std::vector<double> unit) : unit_(std::move(unit)), sum_(unit_.size(), 0) {}

  // The first n of y, f32 [N,C] or [N,C,H,W].
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
    return double(sum_[c] - other.sum_[c]) / (kSteps * double(count_));
  }

 private:
  static constexpr double kSteps = 256, kLargest = 2147483648.0;  // what an int8 layer can sum up at most
  std::vector<double> unit_;
  std::vector<int64_t> sum_;
  int64_t count_ = 0;
};

// A unit of each output channel's bias; empty for steps without one.
std::vector<double> bias_units(const Int8Model& m, const Int8Step& s) {
  const Int8Value& x = m.values[size_t(s.inputs[0])];
  const auto units = [](const Tensor& weight_scale, double factor) {
    std::vector<double> u = weight_scale.to_vector();
    for (double& v : u) v *= factor;
    return u;
  };
  if (const auto* conv = std::get_if<Int8Conv>(&s.body)) return units(conv->weight_scale, double(x.q.scale));
  if (const auto* linear = std::get_if<Int8Linear>(&s.body))
    return units(linear->weight_scale, double(x.q.scale) / double(x.h * x.w));
  return {};
}

// The same graph with every convolution's relu as a node of its own, so that a run shows the sum before it.
nn::graph::Graph with_visible_sums(nn::graph::Graph g) {
  std::unordered_set<std::string> names;
  for (const nn::graph::Node& n : g.nodes) names.insert(n.name);
  std::vector<nn::graph::Node> nodes;
  for (nn::graph::Node& n : g.nodes) {
    nodes.push_back(n);
    if (!n.is(opdef::conv2d_fused)) continue;
    auto options = n.options<Conv2dFusedOptions>();
    if (!std::exchange(options.relu, false)) continue;
    nn::graph::Value sum = g.values[size_t(n.output)];
    sum.name += ".sum";
    const int id = g.add_value(std::move(sum));
    nodes.back().output = id;
    nodes.back().attrs = to_attrs(options);
    nn::graph::Node activation;
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

// The network up to step `last`, which gives real numbers and no activation function.
Int8Model until(const Int8Model& m, size_t last) {
  Int8Model part = m;
  part.steps.resize(last + 1);
  part.output = part.steps[last].output;
  part.values.resize(size_t(part.output) + 1);  // steps make values in order
  part.values[size_t(part.output)].kind = Int8Value::Kind::real;
  part.flat_output = false;
  return part;
}

Tensor shifted(const Int8Step& s, const Tensor& bias, const std::vector<double>& shift) {
  Tensor out = Tensor::empty(bias.shape(), DType::i32);
  const auto from = bias.data<int32_t>();
  const auto to = out.mutable_data<int32_t>();
  for (size_t i = 0; i < from.size(); ++i) {
    const double v = double(from[i]) + std::nearbyint(shift[i % shift.size()]);
    if (std::abs(v) > double(std::numeric_limits<int32_t>::max()))
      throw ValueError(message("bias correction: the bias of ", s.name, " would leave 32 bits"));
    to[i] = int32_t(v);
  }
  return out;
}

}  // namespace

Int8Model correct_bias(Int8Model model, const nn::graph::Graph& g, const std::function<void(const BatchFn&)>& replay) {
  g.validate();
  const nn::graph::Graph visible = with_visible_sums(g);
  std::unordered_map<std::string, int> output_of;  // per node
  for (const nn::graph::Node& n : visible.nodes) output_of[n.name] = n.output;
  std::unordered_map<int, ChannelSums> exact;  // per value of the graph
  for (const Int8Step& s : model.steps)
    if (auto units = bias_units(model, s); !units.empty()) exact.emplace(output_of.at(s.name), std::move(units));
  replay([&](const Tensor& x, const Tensor& quantized) {
    nn::graph::run(visible, x, [&](int id, const Tensor& v) {
      if (const auto it = exact.find(id); it != exact.end()) it->second.add(v, quantized.size(0));
    });
  });

  for (size_t i = 0; i < model.steps.size(); ++i) {
    Int8Step& s = model.steps[i];
    const std::vector<double> units = bias_units(model, s);
    if (units.empty()) continue;
    ChannelSums sums(units);
    const Int8Net net(until(model, i));
    replay([&](const Tensor&, const Tensor& x) { sums.add(net(x), x.size(0)); });
    const ChannelSums& wanted = exact.at(output_of.at(s.name));
    std::vector<double> shift;
    for (size_t o = 0; o < units.size(); ++o) shift.push_back(wanted.minus(sums, o));
    if (auto* conv = std::get_if<Int8Conv>(&s.body)) conv->bias = shifted(s, conv->bias, shift);
    if (auto* linear = std::get_if<Int8Linear>(&s.body)) linear->bias = shifted(s, linear->bias, shift);
  }
  return model;
}

}  // namespace mininn::quant
