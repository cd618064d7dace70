#include "examples/cifar_resnet/quantization_details.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "data/augment.h"
#include "nn/graph/executor.h"
#include "nn/graph/program.h"
#include "ops/qconv2d.h"

namespace cifar_resnet {

using namespace mininn;
using nn::graph::Graph, nn::graph::Node;

namespace {

constexpr size_t kMostImages = 48, kGuesses = 3;
constexpr int64_t kHistogramImages = 8;

std::vector<Guess> guesses(const Evaluation& e, size_t image, size_t classes) {
  const auto logits = std::span(e.logits).subspan(image * classes, classes);
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float v : logits) sum += std::exp(double(v) - best);
  std::vector<Guess> all;
  for (size_t k = 0; k < classes; ++k) all.push_back({int(k), std::exp(double(logits[k]) - best) / sum});
  std::stable_sort(all.begin(), all.end(),
                   [](const Guess& a, const Guess& b) { return a.probability > b.probability; });
  // Two probabilities may be equal where their logits are not.
  std::stable_partition(all.begin(), all.end(), [&](const Guess& g) { return g.label == e.predicted[image]; });
  all.resize(std::min(all.size(), kGuesses));
  return all;
}

void add_misclassified(QuantizationDetails& d, const Evaluation& fp32, const Evaluation& int8,
                       const data::Dataset& test) {
  const auto labels = test.labels.data<int64_t>();
  const auto pixels = test.images.data<uint8_t>();
  const size_t bytes = pixels.size() / labels.size(), classes = test.classes.size();
  std::vector<size_t> wrong;
  for (size_t i = 0; i < labels.size(); ++i)
    if (fp32.predicted[i] != labels[i] || int8.predicted[i] != labels[i]) wrong.push_back(i);
  d.wrong = int64_t(wrong.size());
  // Where the two disagree first: that is what quantization changed.
  std::stable_partition(wrong.begin(), wrong.end(), [&](size_t i) { return fp32.predicted[i] != int8.predicted[i]; });
  wrong.resize(std::min(wrong.size(), kMostImages));
  for (const size_t i : wrong) {
    const auto image = pixels.subspan(i * bytes, bytes);
    d.misclassified.push_back({.pixels = {image.begin(), image.end()},
                               .index = int64_t(i),
                               .truth = int(labels[i]),
                               .fp32 = guesses(fp32, i, classes),
                               .int8 = guesses(int8, i, classes)});
  }
}

// The weights and activations of the convolutions, as the float and as the int8 network have them.
std::vector<LayerHistograms> histograms(const Graph& graph, const quant::Int8Net& net, const data::Dataset& test) {
  const Graph& int8 = net.model().graph;
  const Tensor images = image_range(test, 0, std::min(kHistogramImages, test.size()));
  std::vector<std::vector<double>> real(graph.values.size());
  nn::graph::run(graph, data::normalize(images), [&](int id, const Tensor& t) { real[size_t(id)] = t.to_vector(); });
  quant::Int8Stepper stepper(net, images.size(0));
  stepper.set_input(images);

  std::vector<LayerHistograms> out;
  bool is_first = true;
  for (size_t i = 0; i < int8.nodes.size(); ++i) {
    stepper.run(i);
    const Node& conv = int8.nodes[i];
    // The first one has the input's normalisation folded into its weights: not comparable, so it is passed over.
    if (!conv.is(opdef::qconv2d) || std::exchange(is_first, false)) continue;
    const auto node = std::ranges::find(graph.nodes, conv.name, &Node::name);
    if (node == graph.nodes.end()) continue;
    const auto constant = [&](size_t input) { return int8.values[size_t(conv.inputs[input])].constant.to_vector(); };
    auto codes = constant(1);
    const auto scales = constant(2);
    const size_t per_channel = codes.size() / scales.size();
    for (size_t k = 0; k < codes.size(); ++k) codes[k] *= scales[k / per_channel];
    const bool one_scale = std::adjacent_find(scales.begin(), scales.end(), std::not_equal_to<>()) == scales.end();
    const auto& q = int8.values[size_t(conv.output)].qparams;
    out.push_back({before_after(conv.name, graph.values[size_t(node->inputs[1])].constant.to_vector(), codes,
                                one_scale ? scales[0] : 0),
                   before_after(conv.name, real[size_t(node->output)], stepper.real(conv.output).to_vector(),
                                q ? double(q->scale) : 0)});
  }
  return out;
}

std::vector<std::string> node_names(const Graph& g) {
  std::vector<std::string> names;
  for (const Node& n : g.nodes) names.push_back(n.name);
  return names;
}

MemoryUse memory_of_fp32(const Graph& graph) {
  const nn::graph::Program program(graph);
  MemoryUse m{.arena_bytes = program.arena_bytes(1), .nodes = node_names(program.graph()), .arena = program.arena(1)};
  const auto bytes = [](const Tensor& t) { return t ? t.numel() * int64_t(size_of(t.dtype())) : 0; };
  for (const auto& v : program.graph().values) m.weight_bytes += bytes(v.constant);
  for (const auto& node : program.report(0)) m.packed_bytes += bytes(node.packed);
  return m;
}

MemoryUse memory_of_int8(const quant::Int8Net& net, const quant::Report& report) {
  MemoryUse m{.weight_bytes = report.int8_bytes(),
              .arena_bytes = report.arena_bytes_per_image,
              .nodes = node_names(net.model().graph),
              .arena = net.arena_of_one()};
  for (const auto& l : report.layers) m.packed_bytes += l.packed_bytes;
  return m;
}

}  // namespace

QuantizationDetails quantization_details(const Evaluation& fp32, const Evaluation& int8, const Graph& graph,
                                         const quant::Int8Net& net, const quant::Report& report,
                                         const data::Dataset& test) {
  QuantizationDetails d{.classes = test.classes,
                        .misclassified = {},
                        .histograms = histograms(graph, net, test),
                        .fp32 = memory_of_fp32(graph),
                        .int8 = memory_of_int8(net, report)};
  add_misclassified(d, fp32, int8, test);
  return d;
}

}  // namespace cifar_resnet
