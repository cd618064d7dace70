#include "quant/int8_net.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "core/kernel.h"
#include "core/parallel.h"
#include "core/tuner.h"
#include "nn/graph/memory_plan.h"
#include "nn/graph/program.h"
#include "ops/layout.h"
#include "ops/qconv2d.h"
#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "quant/int8_graph.h"
#include "quant/overloaded.h"

namespace mininn::quant {
namespace {

using nn::graph::BatchClass, nn::graph::Graph, nn::graph::Program;

constexpr int64_t kSmallBatch = 4;      // up to here kernels for one image
constexpr int64_t kMaxBatch = 1 << 16;  // images that go through together
constexpr int64_t kMaxArena = 1 << 30;  // bytes of activations, unless one image takes more
const Device kCpu = Device::cpu();

// Throws unless `x` is what forward() takes.
void check_input(const Int8Model& m, const Tensor& x) {
  const Int8Value& v = m.values[0];
  const DType dtype = m.normalization ? DType::u8 : DType::f32;
  if (!x) throw ShapeError("int8 net: x is undefined");
  const bool fits = m.flat_input ? x.rank() == 2 && x.size(1) == v.c
                                 : x.rank() == 4 && x.size(1) == v.c && x.size(2) == v.h && x.size(3) == v.w;
  if (!fits)
    throw ShapeError(m.flat_input ? message("int8 net: x must be [N,", v.c, "], not ", x.shape())
                                  : message("int8 net: x must be [N,", v.c, ",", v.h, ",", v.w, "], not ", x.shape()));
  if (x.dtype() != dtype)
    throw DTypeError(message("int8 net: x must be ", name(dtype),
                             m.normalization ? " (raw image bytes: the normalisation is folded into the weights)" : "",
                             ", not ", name(x.dtype())));
  if (x.device() != kCpu) throw DeviceError(message("int8 net: x lies on ", to_string(x.device()), ", not on the CPU"));
}

// About as many bytes as the activations of one image need.
int64_t image_bytes(const Int8Model& m) {
  std::vector<nn::graph::Lifetime> lives;
  for (const Int8Value& v : m.values) {
    const int64_t pixel = v.kind == Int8Value::Kind::codes ? min_pixel_stride(v.c) : v.c * 4;
    lives.push_back({size_t(v.kind == Int8Value::Kind::sums ? pixel : v.h * v.w * pixel), 0, 0});
  }
  for (size_t i = 0; i < m.steps.size(); ++i) {
    lives[size_t(m.steps[i].output)].first = lives[size_t(m.steps[i].output)].last = i + 1;
    for (const int v : m.steps[i].inputs) lives[size_t(v)].last = i + 1;
  }
  return int64_t(nn::graph::plan_memory(lives).bytes);
}

std::vector<BatchClass> batch_classes(int64_t slice) {
  std::vector<BatchClass> classes{{1, kSmallBatch}};
  const auto add = [&](int64_t sample, int64_t most) {
    if (most > classes.back().most) classes.push_back({std::max(sample, kSmallBatch + 1), most});
  };
  add(slice / 4, slice / 2);
  add(slice, slice);
  return classes;
}

}  // namespace

struct Int8Net::Compiled {
  int64_t slice;  // images that go through together
  Int8Graph graph;
  Program program;

  Compiled(const Int8Model& m, int64_t wanted_slice)
      : slice(std::clamp<int64_t>(kMaxArena / std::max<int64_t>(image_bytes(m), 1), 1, wanted_slice)),
        graph(to_graph(m)),
        program(graph.graph, batch_classes(slice)) {}
};

void Int8Net::check_settings(const Int8NetOptions& options) {
  if (options.slice < 1 || options.slice > kMaxBatch)
    throw ValueError(message("int8 net: a slice of ", options.slice, " images; 1 to ", kMaxBatch, " are possible"));
  // Each looks at its environment variable.
  num_threads();
  preference();
  process_tuner(op::QConv2d::op);
}

Int8Net::Int8Net(Int8Model model, Int8NetOptions options) : options_(options) {
  check_settings(options);
  model.validate();
  model.freeze();
  model_ = std::make_shared<const Int8Model>(std::move(model));
  repack();
}

void Int8Net::repack() { compiled_ = std::make_shared<const Compiled>(*model_, options_.slice); }

Tensor Int8Net::forward(const Tensor& x) const {
  const Int8Model& m = *model_;
  check_input(m, x);
  const int64_t n = x.size(0);
  const auto run = [&](const Tensor& part) { return compiled_->program(part); };
  if (n <= compiled_->slice) return run(x);
  const int64_t slice = ceil_div(n, ceil_div(n, compiled_->slice));
  const Int8Value& out = m.values[size_t(m.output)];
  Tensor y = m.flat_output ? Tensor::empty({n, out.c})
                           : Tensor::empty({n, out.c, out.h, out.w}, DType::f32, kCpu, MemoryFormat::channels_last);
  for (int64_t begin = 0; begin < n; begin += slice) {
    const auto rows = [&](const Tensor& t) {
      Shape shape = t.shape();
      shape[0] = std::min(slice, n - begin);
      return t.as_strided(shape, t.strides(), begin * t.strides()[0]);
    };
    std::array<Tensor, 1> in{rows(x)}, part{rows(y)};
    compiled_->program.run_into(in, part);
  }
  return y;
}

Report Int8Net::report() const {
  const Program& program = compiled_->program;
  Report r;
  r.arena_bytes_per_image = program.arena_bytes(1);
  r.graph_macs = model_->graph_macs;
  std::vector<std::vector<Program::NodeReport>> classes;
  for (size_t c = 0; c < program.classes().size(); ++c) {
    r.batches.push_back(program.classes()[c].sample);
    classes.push_back(program.report(c));
  }
  for (size_t i = 0; i < model_->steps.size(); ++i) {
    const Int8Step& s = model_->steps[i];
    const Int8Value& y = model_->values[size_t(s.output)];
    LayerReport l;
    l.name = s.name;
    l.op = s.op;
    std::string last;
    std::set<const void*> packed;
    for (const auto& nodes : classes) {
      const Program::NodeReport& node = nodes[size_t(compiled_->graph.nodes[i])];
      if (node.kernel != last) l.kernel += (last.empty() ? "" : " / ") + node.kernel;
      last = node.kernel;
      l.trials.push_back(node.trials);
      if (node.packed && packed.insert(node.packed.id()).second) l.packed_bytes += node.packed.numel();
    }
    l.shape = {y.c, y.h, y.w};
    l.q = y.q;
    l.real = y.kind == Int8Value::Kind::real;
    l.macs = macs(*model_, s);
    const auto weights = [&](const auto& layer) {
      l.fp32_bytes = (layer.weight.numel() + layer.weight_scale.numel()) * 4;  // one bias per output channel
      l.weight_bytes = layer.weight.numel();
      l.scale_bytes = layer.weight_scale.numel() * 4;
      l.bias_bytes = layer.bias.numel() * 4;
    };
    std::visit(Overloaded{[&](const Int8Conv& c) { weights(c); }, [&](const Int8Linear& c) { weights(c); },
                          [&](const Int8Lut& t) { l.table_bytes = t.table.numel(); }, [](const auto&) {}},
               s.body);
    l.sqnr_local = s.sqnr_local;
    l.sqnr_total = s.sqnr_total;
    r.int8_macs += l.macs;
    r.layers.push_back(std::move(l));
  }
  return r;
}

Report Int8Net::profile(const Tensor& x, int repeats) const {
  check_input(*model_, x);
  if (x.size(0) < 1 || x.size(0) > compiled_->slice || repeats < 1)
    throw ValueError(message("int8 net: cannot profile ", repeats, " runs of ", x.size(0), " images; 1 to ",
                             compiled_->slice, " go through together"));
  const std::vector<double> ms = compiled_->program.profile(std::array{x}, repeats);
  Report report = this->report();
  for (size_t i = 0; i < report.layers.size(); ++i) report.layers[i].ms = ms[size_t(compiled_->graph.nodes[i])];
  return report;
}

Int8Stepper::Int8Stepper(const Int8Net& net, int64_t n) : net_(net), n_(n) {
  if (n < 1 || n > kMaxBatch) throw ValueError(message("int8 stepper: a batch of ", n, ", not 1 to ", kMaxBatch));
  const Graph& g = net_.compiled_->graph.graph;
  for (const TensorInfo& t : infer(g, batched_inputs(g, n))) {
    if (t.dtype == DType::u8 && t.qparams)
      values_.push_back(empty_codes(t.shape).with_qparams(*t.qparams));
    else
      values_.push_back(Tensor::empty(t.shape, t.dtype));
    values_.back().fill(0);
  }
  for (size_t i = 0; i < g.values.size(); ++i)
    if (g.values[i].constant) values_[i] = g.values[i].constant;
}

// The graph's nodes up to `end`.
void Int8Stepper::run_nodes(size_t begin, size_t end) {
  const auto& nodes = net_.compiled_->graph.graph.nodes;
  for (size_t i = begin; i < end; ++i) {
    std::vector<Tensor> in;
    for (const int id : nodes[i].inputs) in.push_back(id == nn::graph::kAbsent ? Tensor() : values_[size_t(id)]);
    values_[size_t(nodes[i].output)] = net_.compiled_->program.call(i, in);
  }
}

size_t Int8Stepper::first_node(size_t step) const {
  const Int8Graph& g = net_.compiled_->graph;
  return step < g.nodes.size() ? size_t(g.nodes[step]) : g.graph.nodes.size();
}

void Int8Stepper::set_input(const Tensor& x) {
  check_input(net_.model(), x);
  if (x.size(0) != n_) throw ShapeError(message("int8 stepper: ", x.shape(), " is no batch of ", n_));
  values_[size_t(net_.compiled_->graph.graph.inputs[0])] = x;
  run_nodes(0, first_node(0));
}

const Int8Value& Int8Stepper::value(int id) const {
  const auto& values = net_.model().values;
  if (id < 0 || size_t(id) >= values.size())
    throw ValueError(message("int8 stepper: there is no value ", id, " among ", values.size()));
  return values[size_t(id)];
}

Tensor& Int8Stepper::tensor(int id) { return values_[size_t(net_.compiled_->graph.values[size_t(id)])]; }
const Tensor& Int8Stepper::tensor(int id) const { return values_[size_t(net_.compiled_->graph.values[size_t(id)])]; }

void Int8Stepper::set(int id, const Tensor& real) {
  const Int8Value& v = value(id);
  const Shape shape = v.shape(n_);
  if (v.kind == Int8Value::Kind::sums || real.numel() != numel(shape))
    throw ShapeError(message("int8 stepper: ", v.name, ' ', shape, " cannot be set to ", real.shape()));
  if (real.dtype() != DType::f32 || real.device() != kCpu)
    throw DTypeError(message("int8 stepper: ", v.name, " can be set to f32 on the CPU, not to ", name(real.dtype())));
  if (real.shape() != shape && !real.is_contiguous())
    throw ShapeError(message("int8 stepper: ", real.shape(), " must be contiguous to stand for ", shape));
  const Tensor x = reshape(real.detach(), shape);
  tensor(id) = v.kind == Int8Value::Kind::codes ? quantize(x, v.q) : contiguous(x, MemoryFormat::channels_last).clone();
}

void Int8Stepper::run(size_t step) {
  const size_t steps = net_.model().steps.size();
  if (step >= steps) throw ValueError(message("int8 stepper: there is no step ", step, " of ", steps));
  run_nodes(first_node(step), first_node(step + 1));
}

Tensor Int8Stepper::raw(int id) const {
  const Int8Value& v = value(id);
  if (v.kind != Int8Value::Kind::codes) return tensor(id).clone();
  Tensor copy = Tensor::empty(v.shape(n_), DType::u8);
  copy.copy_from(tensor(id));
  return copy;
}

Tensor Int8Stepper::real(int id) const {
  const Int8Value& v = value(id);
  const Tensor codes = raw(id);
  if (v.kind == Int8Value::Kind::real) return codes;
  const double count = v.kind == Int8Value::Kind::sums ? double(v.h * v.w) : 1;
  const Shape shape = v.kind == Int8Value::Kind::sums ? Shape{n_, v.c, 1, 1} : codes.shape();
  const std::vector<double> q = codes.to_vector();
  std::vector<float> x(q.size());
  for (size_t i = 0; i < q.size(); ++i) x[i] = float(double(v.q.scale) * (q[i] / count - v.q.zero_point));
  return Tensor::from(x, shape);
}

}  // namespace mininn::quant
