#include "examples/cifar_resnet/unfold.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/autograd.h"
#include "data/augment.h"
#include "nn/graph/executor.h"
#include "nn/graph/trace.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/qlinear.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "quant/int8_file.h"

namespace cifar_resnet {

using namespace mininn;
using nn::graph::Graph;
using nn::graph::kAbsent;
using nn::graph::Node;

namespace {

// A convolution or fully connected layer of the float network, and the batch norm behind it, if there is one.
struct Layer {
  std::string name;
  int output;
  Tensor weight, bias;                            // bias: undefined where there is none
  Tensor gamma, beta, running_mean, running_var;  // undefined, but for a batch norm
  double eps = 0;
};

std::vector<Layer> layers_of(const Graph& g, const Fp32Network& net) {
  const auto parameter = [&](int id) { return id == kAbsent ? Tensor() : net.params.find(g.values[size_t(id)].name); };
  std::vector<Layer> layers;
  for (const Node& n : g.nodes) {
    if (n.is(opdef::conv2d) || n.is(opdef::linear)) {
      layers.push_back({n.name, n.output, parameter(n.inputs[1]), parameter(n.inputs[2]), {}, {}, {}, {}});
    } else if (n.is(opdef::batch_norm)) {
      const auto before = std::ranges::find(layers, n.inputs[0], &Layer::output);
      if (before == layers.end()) throw ValueError(message("unfold: there is no layer before ", n.name));
      before->gamma = parameter(n.inputs[1]);
      before->beta = parameter(n.inputs[2]);
      before->running_mean = parameter(n.inputs[3]);
      before->running_var = parameter(n.inputs[4]);
      before->eps = n.options<BatchNormOptions>().eps;
    }
  }
  return layers;
}

struct Values {
  std::vector<double> weight, bias;
};

// What the codes of a layer mean; one that reads bytes of images gets those of a layer that reads them as
// data::normalize() makes them.
Values values_of(const Graph& g, const Node& n, bool reads_bytes) {
  const auto& values = g.values;
  const auto constant = [&](size_t i) { return values[size_t(n.inputs[i])].constant.to_vector(); };
  const QParams x = values[size_t(n.inputs[0])].qparams.value();
  // A fully connected layer reads sums of codes, and has their zero point's share in its bias (ops/qlinear.h).
  const bool linear = n.is(opdef::qlinear);
  const double pixels = linear ? double(n.options<QLinearOptions>().pixels) : 1;
  const double x_scale = double(x.scale), zero = linear ? pixels * x.zero_point : 0;
  const std::vector<double> codes = constant(1), scales = constant(2), biases = constant(3);
  const size_t channels = scales.size(), size = codes.size() / channels, classes = biases.size() / channels;
  const ImageNormalization& images = data::kCifar10Normalization;
  const size_t plane = reads_bytes ? size / images.mean.size() : 1;
  Values v;
  for (size_t o = 0; o < channels; ++o) {
    const double unit = x_scale / pixels * scales[o];
    double bias = biases[classes / 2 * channels + o] * unit;  // of a pixel that sees no border
    for (size_t k = 0; k < size; ++k) {
      bias += zero * codes[o * size + k] * unit;
      double w = codes[o * size + k] * scales[o];
      if (reads_bytes) {
        bias += w * x_scale * images.zero_byte(k / plane);
        w *= x_scale * images.bytes_per_one(k / plane);
      }
      v.weight.push_back(w);
    }
    v.bias.push_back(bias);
  }
  return v;
}

void set(Tensor t, const std::vector<double>& v) { t.copy_from(Tensor::from(v, t.shape())); }
void scale(Tensor t, double factor) { t.copy_from(t * factor); }

// A norm that adds the bias and does nothing else becomes one of what it sees, with the same output.
void normalize_layer(const Layer& l, const Tensor& seen) {
  const Tensor centred = seen - mean(seen, {0, 2, 3}, true);
  const Tensor m = mean(seen, {0, 2, 3}), v = mean(centred * centred, {0, 2, 3});
  const double fan_in = double(l.weight.numel() / l.weight.size(0));
  const double size = std::sqrt(mean(l.weight * l.weight).item());
  const double factor = size > 0 ? std::sqrt(2 / fan_in) / size : 1;  // of the weights
  Tensor gamma = l.gamma, beta = l.beta, running_mean = l.running_mean, running_var = l.running_var;
  beta.copy_from(l.beta + m);
  running_mean.copy_from(m * factor);
  running_var.copy_from(v * (factor * factor));
  gamma.copy_from(sqrt(l.running_var + l.eps) * (1 / factor));
  scale(l.weight, factor);
}

}  // namespace

void unfold(const quant::Int8Model& model, Fp32Network& net, const Tensor& images) {
  const NoGradGuard no_grad;
  const EvalMode eval_mode(net.params);
  const Tensor x = data::normalize(images.to(net.params.device()));
  const Tensor example = slice(x, 0, 0, 1);
  const std::vector<Layer> layers = layers_of(nn::trace(*net.model, example), net);
  std::map<std::string, Values> values;
  const std::vector<int> makers = nn::graph::producers(model.graph);
  for (const Node& n : model.graph.nodes) {
    if (!quant::is_int8_layer(n)) continue;
    const int maker = makers[size_t(n.inputs[0])];
    const bool reads_bytes = maker != kAbsent && model.graph.nodes[size_t(maker)].is(opdef::qpack);
    values[n.name] = values_of(model.graph, n, reads_bytes);
  }
  for (const Layer& l : layers) {
    const auto found = values.find(l.name);
    if (found == values.end() || int64_t(found->second.weight.size()) != l.weight.numel() ||
        int64_t(found->second.bias.size()) != l.weight.size(0))
      throw ValueError(message("unfold: the int8 network has no layer ", l.name, " with weights ", l.weight.shape()));
  }

  for (const Layer& l : layers) {
    const Values& v = values.at(l.name);
    set(l.weight, v.weight);
    if (l.bias) set(l.bias, l.gamma ? std::vector<double>(v.bias.size(), 0) : v.bias);
    if (!l.gamma) continue;
    set(l.gamma, std::vector<double>(v.bias.size(), 1));
    set(l.beta, v.bias);
    set(l.running_mean, std::vector<double>(v.bias.size(), 0));
    set(l.running_var, std::vector<double>(v.bias.size(), 1 - l.eps));
  }
  const Graph g = nn::trace(*net.model, example);  // with these values
  nn::graph::run(g, x, [&](int id, const Tensor& seen) {
    const auto l = std::ranges::find(layers, id, &Layer::output);
    if (l != layers.end() && l->gamma) normalize_layer(*l, seen);
  });
}

void begin_with(Fp32Network& net, const Path& file, const data::Dataset& shown) {
  if (!quant::is_int8_file(file)) return net.read_values(file);
  constexpr int64_t kImages = 500;
  try {
    unfold(quant::load_int8(file), net, image_range(shown, 0, std::min(shown.size(), kImages)));
  } catch (const ValueError& e) {
    throw FileError(message(file.string(), ": ", e.what()));
  }
}

}  // namespace cifar_resnet
