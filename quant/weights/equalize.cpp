#include "quant/weights/equalize.h"

#include <algorithm>
#include <cmath>

#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"

namespace mininn::quant {
namespace {

using nn::graph::Graph;
using nn::graph::kAbsent;
using nn::graph::Node;

constexpr int kSweeps = 20;           // over chains of layers; a pair on its own needs one
constexpr double kLeastRange = 1e-6;  // of a channel, relative to its layer's largest weight: below it there is none

struct Layer {
  std::vector<double> w, bias;  // w is [outputs, inputs of a group, taps]
  int64_t outputs = 0;
};

// Two layers, by node, with `channels` between them. The second one's weights of channel c are those of `outputs`
// neighbouring outputs, `taps` neighbouring numbers each: all of its taps, or the pixels of a flattened map.
struct Pair {
  size_t first, second;
  int64_t channels, inputs, outputs, taps;
};

double largest(const double* v, int64_t n) {
  double top = 0;
  for (int64_t i = 0; i < n; ++i) top = std::max(top, std::abs(v[i]));
  return top;
}

class Equalizer {
 public:
  explicit Equalizer(Graph g) : g_(std::move(g)), uses_(nn::graph::use_counts(g_)), layers_(g_.nodes.size()) {}

  Graph run() {
    std::vector<Pair> pairs;
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (const int next = partner(i); next != kAbsent) pairs.push_back(pair(i, size_t(next)));
    for (const Pair& p : pairs)
      for (const size_t i : {p.first, p.second}) load(i);
    for (int sweep = 0; sweep < kSweeps; ++sweep)
      for (const Pair& p : pairs) equalize(p);
    for (size_t i = 0; i < g_.nodes.size(); ++i)
      if (!layers_[i].w.empty()) store(i);
    return std::move(g_);
  }

 private:
  // A layer whose weights belong to it alone.
  bool is_layer(const Node& n) const {
    const auto own = [&](int id) { return g_.is_constant(id) && uses_[size_t(id)] == 1; };
    if ((!n.is(opdef::conv2d_fused) && !n.is(opdef::linear)) || !own(n.inputs[1])) return false;
    const Shape& w = g_.values[size_t(n.inputs[1])].shape;
    if (w.rank() < 2 || numel(w) == 0 || w[0] % groups(n) != 0) return false;
    return n.inputs[2] == kAbsent || (own(n.inputs[2]) && g_.values[size_t(n.inputs[2])].shape == Shape{w[0]});
  }
  static int64_t groups(const Node& n) {
    const int64_t groups = n.is(opdef::conv2d_fused) ? n.options<Conv2dFusedOptions>().conv.groups : 1;
    if (groups < 1) throw ValueError(message("node ", n.name, ": attribute 'groups' is ", groups));
    return groups;
  }
  // Whether layer `second` has as many weights for each of the channels that layer `first` makes.
  bool fits(size_t first, size_t second) const {
    const Shape& w = weight_shape(second);
    const int64_t channels = weight_shape(first)[0], parts = groups(g_.nodes[second]);
    return channels % parts == 0 && numel(w) / w[0] % (channels / parts) == 0;
  }
  static bool adds_residual(const Node& n) { return n.is(opdef::conv2d_fused) && n.inputs[3] != kAbsent; }
  // f(s x) = s f(x) for s > 0, channel by channel.
  static bool is_homogeneous(const Node& n) {
    return n.is(opdef::functor<op::Relu>) || n.is(opdef::max_pool2d) || n.is(opdef::avg_pool2d) ||
           n.is(opdef::global_avg_pool2d) || n.is(opdef::flatten);
  }
  const Shape& weight_shape(size_t node) const { return g_.values[size_t(g_.nodes[node].inputs[1])].shape; }

  // The layer that may be scaled together with layer `i`; kAbsent if there is none.
  int partner(size_t i) const {
    if (!is_layer(g_.nodes[i]) || adds_residual(g_.nodes[i])) return kAbsent;
    for (int id = g_.nodes[i].output; uses_[size_t(id)] == 1;) {
      const auto reader = std::find_if(g_.nodes.begin(), g_.nodes.end(), [&](const Node& n) {
        return std::find(n.inputs.begin(), n.inputs.end(), id) != n.inputs.end();
      });
      if (reader == g_.nodes.end()) break;  // the graph's output
      const auto next = reader - g_.nodes.begin();
      if (is_layer(*reader) && reader->inputs[0] == id) return fits(i, size_t(next)) ? int(next) : kAbsent;
      if (!is_homogeneous(*reader)) break;
      id = reader->output;
    }
    return kAbsent;
  }

  Pair pair(size_t first, size_t second) const {
    const Shape& w = weight_shape(second);
    const int64_t channels = weight_shape(first)[0], numbers = numel(w) / w[0];
    const int64_t parts = groups(g_.nodes[second]), inputs = channels / parts;
    return {first, second, channels, inputs, w[0] / parts, numbers / inputs};
  }

  void load(size_t i) {
    if (!layers_[i].w.empty()) return;
    const Node& n = g_.nodes[i];
    const auto values = [&](int id) {
      return id == kAbsent ? std::vector<double>() : g_.values[size_t(id)].constant.to_vector();
    };
    layers_[i] = {values(n.inputs[1]), values(n.inputs[2]), weight_shape(i)[0]};
  }

  void equalize(const Pair& p) {
    Layer &a = layers_[p.first], &b = layers_[p.second];
    const int64_t row = int64_t(a.w.size()) / a.outputs;
    const auto rows_of_b = [&](int64_t c, auto fn) {
      for (int64_t o = 0; o < p.outputs; ++o)
        fn(&b.w[size_t(((c / p.inputs * p.outputs + o) * p.inputs + c % p.inputs) * p.taps)]);
    };
    const double least_a = kLeastRange * largest(a.w.data(), int64_t(a.w.size()));
    const double least_b = kLeastRange * largest(b.w.data(), int64_t(b.w.size()));
    for (int64_t c = 0; c < p.channels; ++c) {
      double* const from = &a.w[size_t(c * row)];
      const double range_a = largest(from, row);
      double range_b = 0;
      rows_of_b(c, [&](const double* w) { range_b = std::max(range_b, largest(w, p.taps)); });
      if (range_a <= least_a || range_b <= least_b) continue;
      const double s = std::sqrt(range_a / range_b);
      for (int64_t i = 0; i < row; ++i) from[i] /= s;
      if (!a.bias.empty()) a.bias[size_t(c)] /= s;
      rows_of_b(c, [&](double* w) {
        for (int64_t i = 0; i < p.taps; ++i) w[i] *= s;
      });
    }
  }

  void store(size_t i) {
    const auto put = [&](int id, const std::vector<double>& v) {
      nn::graph::Value& value = g_.values[size_t(id)];
      Tensor t = Tensor::empty_like(value.constant);
      t.copy_from(Tensor::from(v, value.shape));
      value.constant = t.set_name(value.name);
    };
    put(g_.nodes[i].inputs[1], layers_[i].w);
    if (!layers_[i].bias.empty()) put(g_.nodes[i].inputs[2], layers_[i].bias);
  }

  Graph g_;
  std::vector<int> uses_;
  std::vector<Layer> layers_;  // per node; empty where nothing changes
};

}  // namespace

Graph equalize(Graph g) {
  g.validate();
  return Equalizer(std::move(g)).run();
}

}  // namespace mininn::quant
