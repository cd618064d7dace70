#include "quant/calibrator.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernel.h"
#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "nn/serialize.h"
#include "ops/layout.h"
#include "ops/qpool.h"
#include "quant/grid/affine.h"
#include "quant/lower.h"
#include "quant/weights/bias_correction.h"
#include "quant/weights/equalize.h"

namespace mininn::quant {
namespace {

// The float network always sees batches of this size, so that no kernel's choice of algorithm can depend on how the
// user batched the data.
constexpr int64_t kBatch = 16;
constexpr int64_t kMeasured = 64;  // images for the error report

// The first n rows.
Tensor head(const Tensor& x, int64_t n) {
  Shape shape = x.shape();
  shape[0] = n;
  return x.as_strided(shape, x.strides());
}

void check_images(const char* who, const Tensor& x, DType dtype, const ImageNormalization& n) {
  n.check(int64_t(n.mean.size()));
  if (x.dtype() != dtype || x.rank() != 4 || size_t(x.size(1)) != n.mean.size())
    throw ShapeError(
        message(who, ": needs ", name(dtype), "[N,", n.mean.size(), ",H,W], not ", name(x.dtype()), x.shape()));
}

}  // namespace

Tensor normalize_images(const Tensor& bytes, const ImageNormalization& n) {
  check_images("normalize_images", bytes, DType::u8, n);
  const Tensor x = nn::stored(bytes);
  Tensor y = Tensor::empty(x.shape());
  const auto in = x.data<uint8_t>();
  const auto out = y.mutable_data<float>();
  const size_t plane = size_t(x.size(2) * x.size(3));
  for (size_t i = 0; i < in.size(); ++i) out[i] = n(in[i], i / plane % n.mean.size());
  return y;
}

Tensor denormalize_images(const Tensor& normalized, const ImageNormalization& n) {
  check_images("denormalize_images", normalized, DType::f32, n);
  const Tensor x = nn::stored(normalized);
  Tensor y = Tensor::empty(x.shape(), DType::u8);
  const auto in = x.data<float>();
  const auto out = y.mutable_data<uint8_t>();
  const size_t plane = size_t(x.size(2) * x.size(3));
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t c = i / plane % n.mean.size();
    const double byte = double(in[i]) * n.bytes_per_one(c) + n.zero_byte(c);
    const double nearest = std::nearbyint(byte);
    if (!(std::abs(byte - nearest) <= 0.01 && nearest >= 0 && nearest <= 255))
      throw ValueError(message("denormalize_images: ", in[i], " in channel ", c, " stands for no byte of an image"));
    out[i] = uint8_t(nearest);
  }
  return y;
}

Calibrator::Calibrator(nn::graph::Graph graph, CalibratorOptions options)
    : graph_(fuse_conv(convolve_batch_norm(optimize(std::move(graph))))), options_(std::move(options)) {
  options_.activations.check();
  if (options_.equalize) graph_ = quant::equalize(std::move(graph_));
  graph_.freeze();
  // A dry run on made-up ranges: what cannot be quantized at all, or kept in a file, is reported before any time goes
  // into calibration.
  Lowered dry =
      lower(graph_, std::vector<Range>(graph_.values.size(), Range{0, 1}), {options_.per_channel, options_.input});
  dry.model.calibration = options_.notes;
  dry.model.validate();
  const auto one = infer(graph_, batched_inputs(graph_, 1)), two = infer(graph_, batched_inputs(graph_, 2));
  for (size_t i = 0; i < one.size(); ++i) {
    rows_.push_back(one[i].shape == two[i].shape ? 0 : one[i].shape[0]);
    observed_.push_back(dry.observed[i] && one[i].dtype == DType::f32 && !graph_.values[i].constant);
  }
}

void Calibrator::observe(const Tensor& x) {
  if (!x) throw ShapeError("calibration: the input is undefined");
  const nn::graph::Value& in = graph_.values[size_t(graph_.inputs[0])];
  bool fits = x.rank() == in.shape.rank();
  for (int d = 1; fits && d < x.rank(); ++d) fits = x.size(d) == in.shape[d];
  if (!fits)
    throw ShapeError(
        message("calibration: the input must look like ", in.shape, " with any first size, not ", x.shape()));
  if (x.dtype() == DType::u8 && options_.input) {
    inputs_.push_back(normalize_images(x, *options_.input));
  } else if (x.dtype() == DType::f32) {
    if (options_.input) denormalize_images(x, *options_.input);  // throws if these are no images
    inputs_.push_back(nn::stored(x.clone()));
  } else {
    throw DTypeError(
        message("calibration: the input must be f32", options_.input ? " or u8" : "", ", not ", name(x.dtype())));
  }
  images_ += x.size(0);
}

// Calls fn(x, n) for batches of exactly kBatch inputs, of which the first n count; the rest repeats the first.
template <class Fn>
void Calibrator::replay(int64_t images, const Fn& fn) const {
  Shape shape = graph_.values[size_t(graph_.inputs[0])].shape;
  shape[0] = 1;
  const size_t size = size_t(numel(shape));
  shape[0] = kBatch;
  std::vector<const float*> rows;
  for (const Tensor& t : inputs_)
    for (int64_t i = 0; i < t.size(0); ++i) rows.push_back(t.data<float>().data() + size_t(i) * size);
  rows.resize(std::min(rows.size(), size_t(images)));
  for (size_t begin = 0; begin < rows.size(); begin += kBatch) {
    const int64_t n = std::min<int64_t>(kBatch, int64_t(rows.size() - begin));
    Tensor x = Tensor::empty(shape);
    const auto to = x.mutable_data<float>();
    for (int64_t i = 0; i < kBatch; ++i)
      std::memcpy(&to[size_t(i) * size], rows[begin + size_t(i < n ? i : 0)], size * sizeof(float));
    fn(x, n);
  }
}

// What of a value the first `images` of its batch have made, without gaps.
Tensor Calibrator::counted(int id, const Tensor& v, int64_t images) const {
  const int64_t rows = rows_[size_t(id)] * images;
  const Tensor x = rows == 0 || v.size(0) == rows ? v : head(v, rows);
  return x.is_contiguous() || x.is_channels_last() ? x : nn::stored(x);
}

std::vector<Range> Calibrator::ranges() const {
  std::vector<MinMax> bounds(graph_.values.size());
  replay(images_, [&](const Tensor& x, int64_t n) {
    nn::graph::run(graph_, x, [&](int id, const Tensor& v) {
      if (observed_[size_t(id)]) bounds[size_t(id)].observe(counted(id, v, n), graph_.values[size_t(id)].name);
    });
  });
  std::vector<Range> ranges(graph_.values.size());
  if (options_.activations.kind == ObserverKind::minmax) {
    for (size_t i = 0; i < ranges.size(); ++i)
      if (!bounds[i].empty()) ranges[i] = {bounds[i].min(), bounds[i].max()};
    return ranges;
  }
  std::vector<Histogram> histograms(graph_.values.size());
  for (size_t i = 0; i < ranges.size(); ++i)
    if (!bounds[i].empty()) histograms[i] = Histogram(bounds[i].min(), bounds[i].max());
  replay(images_, [&](const Tensor& x, int64_t n) {
    nn::graph::run(graph_, x, [&](int id, const Tensor& v) {
      if (observed_[size_t(id)]) histograms[size_t(id)].observe(counted(id, v, n));
    });
  });
  for (size_t i = 0; i < ranges.size(); ++i) ranges[i] = choose_range(histograms[i], options_.activations);
  return ranges;
}

Int8Net Calibrator::compile(Int8NetOptions options) const {
  if (images_ == 0) throw ValueError("calibration: observe() at least one input before compile()");
  return Int8Net(quantized(), options);
}

Int8Model Calibrator::quantized() const {
  const PreferenceGuard own(Preference::own);
  Lowered lowered = lower(graph_, ranges(), {options_.per_channel, options_.input});
  auto& info = lowered.model.calibration;
  info = options_.notes;
  info["images"] = message(images_);
  info["observer"] = to_string(options_.activations);
  info["weights"] = options_.per_channel ? "per channel" : "per tensor";
  info["float_kernels"] = "own";
  if (options_.equalize) info["equalization"] = "cross-layer";
  if (options_.bias_correction) {
    info["bias_correction"] = "empirical";
    lowered.model = correct_bias(std::move(lowered.model), graph_, [&](const BatchFn& fn) {
      replay(images_, [&](const Tensor& x, int64_t n) { fn(x, int8_input(head(x, n))); });
    });
  }
  measure(lowered.model, lowered.source);
  return std::move(lowered.model);
}

Tensor Calibrator::int8_input(const Tensor& x) const {
  return options_.input ? denormalize_images(x, *options_.input) : x;
}

// Signal to noise of every node's result against the float network, on the first images.
void Calibrator::measure(Int8Model& model, const std::vector<int>& source) const {
  const auto& nodes = model.graph.nodes;
  std::vector<SignalToNoise> local(nodes.size()), total(nodes.size());
  const Int8Net net(model);
  replay(kMeasured, [&](const Tensor& x, int64_t n) {
    std::vector<Tensor> exact(graph_.values.size());
    nn::graph::run(graph_, x, [&](int id, const Tensor& v) { exact[size_t(id)] = counted(id, v, n); });
    // What a node's result should be; undefined where the float network does not say.
    const auto reference = [&](size_t node) {
      const int id = source[size_t(nodes[node].output)];
      const Tensor& v = id == nn::graph::kAbsent ? Tensor() : exact[size_t(id)];
      return v && v.dtype() == DType::f32 ? nn::stored(v) : Tensor();
    };
    const auto compare = [](const Tensor& wanted, const Tensor& y, SignalToNoise& sum) {
      const Tensor result = nn::stored(y);
      const auto r = wanted.data<float>(), q = result.data<float>();
      for (size_t i = 0; i < r.size(); ++i) sum.add(double(r[i]), double(q[i]));
    };
    Int8Stepper isolated(net, n), chained(net, n);
    const Tensor input = int8_input(head(x, n));
    isolated.set_input(input);
    chained.set_input(input);
    for (size_t i = 0; i < nodes.size(); ++i) {
      const int y = nodes[i].output;
      isolated.run(i);
      chained.run(i);
      const Tensor wanted = reference(i);
      if (!wanted) continue;
      compare(wanted, isolated.real(y), local[i]);
      compare(wanted, chained.real(y), total[i]);
      if (!nodes[i].is(opdef::qglobal_sum)) isolated.set(y, wanted);
    }
  });
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (source[size_t(nodes[i].output)] == nn::graph::kAbsent || model.layers[i].op.empty()) continue;
    model.layers[i].sqnr_local = local[i].decibel();
    model.layers[i].sqnr_total = total[i].decibel();
  }
}

}  // namespace mininn::quant
