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
#include "ops/qlut.h"
#include "ops/quantize.h"

namespace mininn::quant {
namespace {

using nn::graph::BatchClass, nn::graph::Graph, nn::graph::kAbsent, nn::graph::Node, nn::graph::Program;

constexpr int64_t kSmallBatch = 4;      // up to here kernels for one image
constexpr int64_t kMaxBatch = 1 << 16;  // images that go through together
constexpr int64_t kMaxArena = 1 << 30;  // bytes of activations, unless one image takes more
const Device kCpu = Device::cpu();

// Throws unless `x` is what forward() takes.
void check_input(const Int8Model& m, const Tensor& x) {
  const nn::graph::Value& v = m.input();
  if (!x) throw ShapeError("int8 net: x is undefined");
  bool fits = x.rank() == v.shape.rank();
  for (int d = 1; fits && d < x.rank(); ++d) fits = x.size(d) == v.shape[d];
  if (!fits) {
    std::string wanted = "[N";
    for (int d = 1; d < v.shape.rank(); ++d) wanted += message(',', v.shape[d]);
    throw ShapeError(message("int8 net: x must be ", wanted, "], not ", x.shape()));
  }
  if (x.dtype() != v.dtype)
    throw DTypeError(message("int8 net: x must be ", name(v.dtype),
                             m.normalization ? " (raw image bytes: the normalisation is folded into the weights)" : "",
                             ", not ", name(x.dtype())));
  if (x.device() != kCpu) throw DeviceError(message("int8 net: x lies on ", to_string(x.device()), ", not on the CPU"));
}

// About as many bytes as the intermediate values of one image need.
int64_t image_bytes(const Graph& g) {
  std::vector<nn::graph::Lifetime> lives;
  for (const TensorInfo& t : infos_of_one(g)) lives.push_back({size_t(stored_numbers(t)) * size_of(t.dtype), 0, 0});
  for (size_t i = 0; i < g.values.size(); ++i)
    if (g.values[i].constant) lives[i].bytes = 0;
  for (size_t i = 0; i < g.nodes.size(); ++i) {
    lives[size_t(g.nodes[i].output)].first = lives[size_t(g.nodes[i].output)].last = i + 1;
    for (const int v : g.nodes[i].inputs)
      if (v != kAbsent) lives[size_t(v)].last = i + 1;
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
  Program program;

  Compiled(const Graph& g, int64_t wanted_slice)
      : slice(std::clamp<int64_t>(kMaxArena / std::max<int64_t>(image_bytes(g), 1), 1, wanted_slice)),
        program(g, batch_classes(slice)) {
    program.arena_bytes(1);  // asks every op: what one does not take is found now, not at the first call
  }
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
  model.graph.freeze();
  model_ = std::make_shared<const Int8Model>(std::move(model));
  repack();
}

void Int8Net::repack() { compiled_ = std::make_shared<const Compiled>(model_->graph, options_.slice); }

Tensor Int8Net::forward(const Tensor& x) const {
  check_input(*model_, x);
  const int64_t n = x.size(0);
  const Program& program = compiled_->program;
  if (n <= compiled_->slice) return program(x);
  const int64_t slice = ceil_div(n, ceil_div(n, compiled_->slice));
  const auto rows = [&](const Tensor& t, int64_t begin) {
    Shape shape = t.shape();
    shape[0] = std::min(slice, n - begin);
    return t.as_strided(shape, t.strides(), begin * t.strides()[0]);
  };
  Tensor y;
  for (int64_t begin = 0; begin < n; begin += slice) {
    const Tensor part = program(rows(x, begin));
    if (!y) {
      Shape shape = part.shape();
      shape[0] = n;
      y = Tensor::empty(shape, part.dtype(), kCpu,
                        shape.rank() == 4 ? MemoryFormat::channels_last : MemoryFormat::contiguous);
    }
    rows(y, begin).copy_from(part);
  }
  return y;
}

namespace {

// `y` is its result for one image; `counted` are the constants that others have had in their bytes.
LayerReport describe(const Int8Model& m, const Node& n, const LayerNote& note, int64_t macs, const TensorInfo& y,
                     std::set<int>& counted) {
  LayerReport l;
  l.name = n.name;
  l.op = note.op.empty() ? n.op->name : note.op;
  l.in_float = note.in_float;
  l.sqnr_local = note.sqnr_local;
  l.sqnr_total = note.sqnr_total;
  const std::vector<int64_t> sizes(y.shape.begin(), y.shape.end());
  const bool one_row = !sizes.empty() && sizes[0] == 1;
  l.shape = Shape(std::span<const int64_t>(sizes).subspan(one_row ? 1 : 0));
  l.real = !y.qparams;
  if (y.qparams) l.q = *y.qparams;
  l.macs = macs;
  l.in_int8 = is_int8_layer(n);
  const auto constant = [&](size_t i) { return m.graph.values[size_t(n.inputs[i])].constant; };
  if (l.in_int8) {
    l.weight_bytes = constant(1).numel();
    l.scale_bytes = constant(2).numel() * 4;
    l.bias_bytes = constant(3).numel() * 4;
    l.fp32_bytes = (constant(1).numel() + constant(2).numel()) * 4;  // one bias per output channel
    return l;
  }
  for (const int id : n.inputs) {
    if (!m.graph.is_constant(id) || !counted.insert(id).second) continue;
    const Tensor& t = m.graph.values[size_t(id)].constant;
    (n.is(opdef::qlut) ? l.table_bytes : l.float_bytes) += t.numel() * int64_t(size_of(t.dtype()));
  }
  if (!note.op.empty()) l.fp32_bytes = l.float_bytes;
  return l;
}

}  // namespace

Report Int8Net::report() const {
  const Program& program = compiled_->program;
  const Int8Model& m = *model_;
  Report r;
  r.arena_bytes_per_image = program.arena_bytes(1);
  r.graph_macs = m.graph_macs;
  std::vector<std::vector<Program::NodeReport>> classes;
  for (size_t c = 0; c < program.classes().size(); ++c) {
    r.batches.push_back(program.classes()[c].sample);
    classes.push_back(program.report(c));
  }
  const std::vector<int64_t> macs = quant::macs(m.graph);
  const std::vector<TensorInfo> infos = infos_of_one(m.graph);
  std::set<int> counted;
  for (size_t i = 0; i < m.graph.nodes.size(); ++i) {
    const Node& n = m.graph.nodes[i];
    LayerReport l = describe(m, n, m.layers[i], macs[i], infos[size_t(n.output)], counted);
    std::string last;
    std::set<const void*> packed;
    for (const auto& nodes : classes) {
      const Program::NodeReport& node = nodes[i];
      if (node.kernel != last) l.kernel += (last.empty() ? "" : " / ") + node.kernel;
      last = node.kernel;
      l.kernels.push_back(node.kernel);
      l.trials.push_back(node.trials);
      if (node.packed && packed.insert(node.packed.id()).second) l.packed_bytes += node.packed.numel();
    }
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
  for (size_t i = 0; i < report.layers.size(); ++i) report.layers[i].ms = ms[i];
  return report;
}

std::vector<nn::graph::ArenaPiece> Int8Net::arena_of_one() const { return compiled_->program.arena(1); }

Int8Stepper::Int8Stepper(const Int8Net& net, int64_t n) : net_(net), n_(n) {
  if (n < 1 || n > kMaxBatch) throw ValueError(message("int8 stepper: a batch of ", n, ", not 1 to ", kMaxBatch));
  const Graph& g = graph();
  for (const TensorInfo& t : infer(g, batched_inputs(g, n))) {
    values_.push_back(like(t));
    values_.back().fill(0);
  }
  for (size_t i = 0; i < g.values.size(); ++i)
    if (g.values[i].constant) values_[i] = g.values[i].constant;
}

Tensor Int8Stepper::like(const TensorInfo& t) {
  if (t.dtype == DType::u8 && t.qparams) return empty_codes(t.shape).with_qparams(*t.qparams);
  const Tensor y = Tensor::empty(t.shape, t.dtype);
  return t.qparams ? y.with_qparams(*t.qparams) : y;
}

const Graph& Int8Stepper::graph() const { return net_.model().graph; }

size_t Int8Stepper::checked(int id) const {
  if (id < 0 || size_t(id) >= values_.size())
    throw ValueError(message("int8 stepper: there is no value ", id, " among ", values_.size()));
  return size_t(id);
}

void Int8Stepper::set_input(const Tensor& x) {
  check_input(net_.model(), x);
  if (x.size(0) != n_) throw ShapeError(message("int8 stepper: ", x.shape(), " is no batch of ", n_));
  values_[size_t(graph().inputs[0])] = x;
}

void Int8Stepper::set(int id, const Tensor& real) {
  Tensor& to = values_[checked(id)];
  const std::string& value = graph().values[size_t(id)].name;
  const bool codes = to.dtype() == DType::u8 && to.qparams();
  if (!codes && to.dtype() != DType::f32)
    throw DTypeError(message("int8 stepper: ", value, " is neither codes nor f32 but ", name(to.dtype())));
  if (real.numel() != to.numel())
    throw ShapeError(message("int8 stepper: ", value, ' ', to.shape(), " cannot be set to ", real.shape()));
  if (real.dtype() != DType::f32 || real.device() != kCpu)
    throw DTypeError(message("int8 stepper: ", value, " can be set to f32 on the CPU, not to ", name(real.dtype())));
  if (real.shape() != to.shape() && !real.is_contiguous())
    throw ShapeError(message("int8 stepper: ", real.shape(), " must be contiguous to stand for ", to.shape()));
  const Tensor x = reshape(real.detach(), to.shape());
  if (codes)
    to = quantize(x, *to.qparams());
  else
    to = contiguous(x, x.rank() == 4 ? MemoryFormat::channels_last : MemoryFormat::contiguous).clone();
}

void Int8Stepper::run(size_t node) {
  const auto& nodes = graph().nodes;
  if (node >= nodes.size()) throw ValueError(message("int8 stepper: there is no node ", node, " of ", nodes.size()));
  std::vector<Tensor> in;
  for (const int id : nodes[node].inputs) in.push_back(id == kAbsent ? Tensor() : values_[size_t(id)]);
  values_[size_t(nodes[node].output)] = net_.compiled_->program.call(node, in);
}

Tensor Int8Stepper::raw(int id) const {
  const Tensor& t = values_[checked(id)];
  Tensor copy = Tensor::empty(t.shape(), t.dtype());
  copy.copy_from(t);
  return copy;
}

Tensor Int8Stepper::real(int id) const {
  const Tensor codes = raw(id);
  const std::optional<QParams> q = values_[size_t(id)].qparams();
  if (!q) return codes;
  const auto count = double(std::max<int64_t>(summed_pixels(graph(), infos_of_one(graph()), id), 1));
  const std::vector<double> code = codes.to_vector();
  std::vector<float> x(code.size());
  for (size_t i = 0; i < code.size(); ++i) x[i] = float(double(q->scale) * (code[i] / count - q->zero_point));
  return Tensor::from(x, codes.shape());
}

}  // namespace mininn::quant
