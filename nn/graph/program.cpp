#include "nn/graph/program.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "core/autograd.h"
#include "core/capture.h"
#include "core/kernel.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "core/tracer.h"
#include "core/tuner.h"
#include "nn/graph/executor.h"
#include "nn/graph/layout.h"
#include "nn/graph/recording.h"
#include "ops/prepared.h"

namespace mininn::nn::graph {
namespace {

Tensor random_tensor(const Layout& l, Generator& random) {
  const bool real = is_floating(l.info.dtype);
  Tensor values = Tensor::empty(l.info.shape), t = l.empty();
  for (float& v : values.mutable_data<float>()) v = float(random.uniform()) * (real ? 1.0f : 100.0f);
  t.copy_from(values.to(l.device));
  return t;
}

// What the values are for a batch of this size, or, of a graph that takes no other, for the traced one.
std::vector<TensorInfo> infer_batch(const Graph& g, int64_t batch) {
  const std::vector<TensorInfo> inputs = batched_inputs(g, batch);
  for (const TensorInfo& in : inputs) (void)numel(in.shape);  // throws for what no graph takes
  try {
    return infer(g, inputs);
  } catch (const ShapeError&) {
    std::vector<TensorInfo> traced;
    for (size_t i = 0; i < g.values.size(); ++i) traced.push_back(g.info(int(i)));
    return traced;
  }
}

}  // namespace

struct Program::Impl {
  Graph graph;
  Preference preference = mininn::preference();
  std::vector<BatchClass> classes;
  // Of each class: per node, or null where its op needs nothing.
  std::vector<std::vector<std::shared_ptr<const PreparedOp>>> prepared;

  // What calls leave behind for the next ones.
  mutable std::mutex mutex;
  mutable std::vector<std::shared_ptr<const Recording>> recordings;  // the last used first
  mutable std::vector<std::unique_ptr<Arena>> arenas;                // that no call uses

  void prepare();
  size_t class_of(int64_t rows) const;
  std::shared_ptr<const Recording> recording(std::span<const Tensor> inputs) const;
  std::shared_ptr<const Recording> record(std::vector<Layout> inputs) const;
  std::shared_ptr<const Recording> record(int64_t rows) const;  // of inputs without gaps
  std::shared_ptr<const PreparedOp> prepare(const std::vector<TensorInfo>& infos, size_t node, int64_t between) const;
  void tune_together();
  std::unique_ptr<Arena> take_arena(size_t bytes, Device device) const;
  // use(arena): one that is large enough for `r`.
  template <class Use>
  void with_arena(const Recording& r, const Use& use) const;
  void run(const std::shared_ptr<const Recording>& r, std::span<const Tensor> inputs, std::span<Tensor> outputs) const;

  Tensor constant(int id) const { return id == kAbsent ? Tensor() : graph.values[size_t(id)].constant; }
};

std::shared_ptr<const PreparedOp> Program::Impl::prepare(const std::vector<TensorInfo>& infos, size_t node,
                                                         int64_t between) const {
  const Node& n = graph.nodes[node];
  if (!n.op->prepare) return nullptr;
  const std::vector<TensorInfo> in = input_infos(n, infos);
  std::vector<Tensor> constants;
  for (const int id : n.inputs) constants.push_back(constant(id));
  std::vector<std::shared_ptr<const PreparedOp>> others;
  for (const auto& ops : prepared)
    if (node < ops.size() && ops[node]) others.push_back(ops[node]);
  try {
    return n.op->prepare({in, constants, n.attrs, between, others});
  } catch (const ShapeError& e) {
    throw ShapeError(n.at(e));
  } catch (const ValueError& e) {
    throw ValueError(n.at(e));
  } catch (const DTypeError& e) {
    throw DTypeError(n.at(e));
  } catch (const DeviceError& e) {
    throw DeviceError(n.at(e));
  } catch (const KernelError& e) {
    throw KernelError(n.at(e));
  }
}

void Program::Impl::prepare() {
  // What all calls read between two of one node. Packing makes int8 weights one to eight times as large.
  int64_t between = 0;
  for (const Node& n : graph.nodes)
    for (const int id : n.inputs)
      if (const Tensor t = n.op->prepare ? constant(id) : Tensor())
        between += t.numel() * (t.dtype() == DType::i8 ? 2 : int64_t(size_of(t.dtype())));
  for (const BatchClass& c : classes) {
    const std::vector<TensorInfo> infos = infer_batch(graph, c.sample);
    prepared.emplace_back();
    for (size_t i = 0; i < graph.nodes.size(); ++i) prepared.back().push_back(prepare(infos, i, between));
  }
  tune_together();
  save_tuning();
}

// Chooses among the kernels for one row by the time of the whole program.
void Program::Impl::tune_together() {
  Tuner* const tuner = process_tuner("");
  const auto one = std::ranges::find(classes, 1, &BatchClass::sample);
  if (!tuner || one == classes.end()) return;
  auto& ops = prepared[size_t(one - classes.begin())];
  std::vector<TunedLayer> layers;
  for (const auto& op : ops) layers.push_back(op ? op->tuned() : TunedLayer());
  std::map<std::pair<size_t, std::string>, std::shared_ptr<const PreparedOp>> made;
  const auto install = [&](size_t i, const std::string& kernel) {
    // One shape after the other: the kernels that have lost for the shape before need not keep their weights.
    if (!made.empty() && layers[made.begin()->first.first].key != layers[i].key) made.clear();
    made.try_emplace({i, ops[i]->tuned().kernel}, ops[i]);
    auto& other = made[{i, kernel}];
    if (!other) other = ops[i]->with_kernel(kernel);
    ops[i] = other;
  };
  std::vector<Tensor> inputs, outputs;
  tuner->choose_together(layers, install, [&] {
    const auto r = record(1);
    if (inputs.empty()) {
      Generator random(1);
      for (const Layout& l : r->inputs) inputs.push_back(random_tensor(l, random));
      for (const Layout& l : r->outputs) outputs.push_back(l.empty());
    }
    const Stopwatch watch;
    run(r, inputs, outputs);
    return watch.ms();
  });
}

size_t Program::Impl::class_of(int64_t rows) const {
  size_t c = 0;
  while (c + 1 < classes.size() && rows > classes[c].most) ++c;
  return c;
}

std::shared_ptr<const Recording> Program::Impl::recording(std::span<const Tensor> inputs) const {
  if (Capture::current()) throw Error("a program cannot be captured: its calls have memory of their own");
  const auto layouts = [&] {
    infos(inputs);  // they are defined
    return std::vector<Layout>(inputs.begin(), inputs.end());
  };
  if (detail::kernels_forced()) return record(layouts());  // for this call alone
  {
    const std::lock_guard lock(mutex);
    const auto found = std::ranges::find_if(recordings, [&](const auto& r) { return r->takes(inputs); });
    if (found != recordings.end()) {
      std::rotate(recordings.begin(), found, found + 1);
      return recordings.front();
    }
  }
  auto fresh = record(layouts());
  constexpr size_t kMostRecordings = 16;
  const std::lock_guard lock(mutex);
  recordings.insert(recordings.begin(), fresh);
  if (recordings.size() > kMostRecordings) recordings.pop_back();
  return fresh;
}

std::shared_ptr<const Recording> Program::Impl::record(int64_t rows) const {
  const auto of_constant = std::ranges::find_if(graph.values, [](const Value& v) { return bool(v.constant); });
  const Device device = of_constant == graph.values.end() ? Device::cpu() : of_constant->constant.device();
  const std::vector<TensorInfo> infos = infer_batch(graph, rows);
  std::vector<Layout> inputs;
  for (const int id : graph.inputs) inputs.emplace_back(infos[size_t(id)], device);
  return record(std::move(inputs));
}

std::shared_ptr<const Recording> Program::Impl::record(std::vector<Layout> inputs) const {
  const auto r = std::make_shared<Recording>();
  r->inputs = std::move(inputs);
  const auto& ops =
      prepared[class_of(r->inputs.empty() || r->inputs[0].info.shape.rank() == 0 ? 1 : r->inputs[0].info.shape[0])];
  const NoGradGuard no_grad;
  const PreferenceGuard prefer(preference);
  Capture capture;
  std::vector<Tensor> in;
  for (const Layout& l : r->inputs) in.push_back(l.empty());
  std::set<size_t> values;
  const auto call = [&](size_t i, std::span<const Tensor> args) {
    const Node& n = graph.nodes[i];
    Tensor y = ops[i] ? ops[i]->call(args) : n.op->call(args, n.attrs);
    r->ends.push_back(capture.calls().size());
    if (const auto place = capture.place_of(y.storage()->data())) values.insert(place->memory);
    return y;
  };
  const std::vector<Tensor> results = graph::run(graph, in, call);
  std::vector<size_t> pieces;
  for (const Tensor& t : results) {
    // A result has its memory for itself.
    const auto piece = [&](const Tensor& y) { return capture.place_of(y.storage()->data()); };
    const auto is_whole = [&](const Tensor& y) {
      const auto p = piece(y);
      return p && p->memory >= in.size() && std::ranges::find(pieces, p->memory) == pieces.end() &&
             y.storage_offset() == 0 && y.storage()->bytes() == Layout(y).bytes();
    };
    const Tensor y = is_whole(t) ? t : t.clone();
    pieces.push_back(piece(y)->memory);
    r->outputs.emplace_back(y);
  }
  r->place(capture, values, pieces);
  return r;
}

std::unique_ptr<Arena> Program::Impl::take_arena(size_t bytes, Device device) const {
  const Stream stream = current_stream(device);
  const auto fits = [&](const auto& a) { return a->serves(bytes, stream); };
  {
    const std::lock_guard lock(mutex);
    if (const auto found = std::ranges::find_if(arenas, fits); found != arenas.end()) {
      std::unique_ptr<Arena> arena = std::move(*found);
      arenas.erase(found);
      return arena;
    }
    if (!arenas.empty()) arenas.pop_back();  // a larger one, or one for the other stream, takes its place
  }
  return std::make_unique<Arena>(bytes, stream);
}

template <class Use>
void Program::Impl::with_arena(const Recording& r, const Use& use) const {
  std::unique_ptr<Arena> arena = take_arena(r.arena_bytes, r.outputs.empty() ? Device::cpu() : r.outputs[0].device);
  use(*arena);
  const std::lock_guard lock(mutex);
  arenas.push_back(std::move(arena));
}

void Program::Impl::run(const std::shared_ptr<const Recording>& r, std::span<const Tensor> inputs,
                        std::span<Tensor> outputs) const {
  with_arena(*r, [&](Arena& arena) {
    arena.place(*r, inputs, outputs);
    arena.run(r);
  });
}

Program::Program(Graph g, std::vector<BatchClass> classes) {
  if (classes.empty()) throw ValueError("program: there is no class of batches");
  for (size_t i = 0; i < classes.size(); ++i) {
    const int64_t least = i == 0 ? 1 : classes[i - 1].most + 1;
    if (classes[i].sample < least || classes[i].sample > classes[i].most)
      throw ValueError(
          message("program: a batch of ", classes[i].sample, " stands for those of ", least, " to ", classes[i].most));
  }
  g.validate();
  g.freeze();
  const auto p = std::make_shared<Impl>();
  p->graph = std::move(g);
  p->classes = std::move(classes);
  p->prepare();
  impl_ = p;
}

std::vector<Tensor> Program::run(std::span<const Tensor> inputs) const {
  if (active_tracer()) return graph::run(impl_->graph, inputs);  // what the ops do is what is to be recorded
  const auto r = impl_->recording(inputs);
  std::vector<Tensor> outputs;
  for (const Layout& l : r->outputs) outputs.push_back(l.empty());
  impl_->run(r, inputs, outputs);
  return outputs;
}

Tensor Program::operator()(const Tensor& input) const {
  check_single_output(impl_->graph);
  return run(std::span<const Tensor>(&input, 1))[0];
}

void Program::run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs) const {
  if (active_tracer()) throw Error("run_into: what is written into a tensor cannot be traced");
  const auto r = impl_->recording(inputs);
  if (outputs.size() != r->outputs.size())
    throw ShapeError(message("run_into: ", outputs.size(), " tensors for ", r->outputs.size(), " outputs"));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Layout& wanted = r->outputs[i];
    if (!outputs[i]) throw ShapeError(message("run_into: output ", i, " is undefined"));
    const Layout found(outputs[i]);
    const auto where = [&] { return message("run_into: output ", i); };
    if (found.info.dtype != wanted.info.dtype)
      throw DTypeError(message(where(), " is ", name(found.info.dtype), ", not ", name(wanted.info.dtype)));
    if (found.device != wanted.device)
      throw DeviceError(message(where(), " lies on ", found.device, ", not on ", wanted.device));
    if (found.info.qparams != wanted.info.qparams)
      throw ValueError(message(where(), " is to hold codes of another grid than the program makes"));
    if (!found.lies_like(wanted) || outputs[i].storage()->bytes() < wanted.bytes())
      throw ShapeError(message(where(), " is ", found.info.shape, " with strides ", found.strides, ", not ",
                               wanted.info.shape, " with strides ", wanted.strides));
    const auto refuse_shared = [&](const Tensor& other) {
      if (may_overlap(outputs[i].view(), other.view()))
        throw ValueError(message(where(), " shares memory with an input or another output"));
    };
    std::ranges::for_each(inputs, refuse_shared);
    std::ranges::for_each(outputs.first(i), refuse_shared);
  }
  impl_->run(r, inputs, outputs);
}

Tensor Program::call(size_t node, std::span<const Tensor> inputs) const {
  const NoGradGuard no_grad;
  const PreferenceGuard prefer(impl_->preference);
  if (node >= impl_->graph.nodes.size())
    throw ValueError(message("program: there is no node ", node, " of ", impl_->graph.nodes.size()));
  const Node& n = impl_->graph.nodes[node];
  if (inputs.size() != n.inputs.size())
    throw ShapeError(message("program: node ", n.name, " has ", n.inputs.size(), " inputs, not ", inputs.size()));
  const auto& op = impl_->prepared[impl_->class_of(inputs[0].rank() == 0 ? 1 : inputs[0].size(0))][node];
  return op ? op->call(inputs) : n.op->call(inputs, n.attrs);
}

const Graph& Program::graph() const { return impl_->graph; }

const std::vector<BatchClass>& Program::classes() const { return impl_->classes; }

std::vector<Program::NodeReport> Program::report(size_t batch_class) const {
  if (batch_class >= impl_->classes.size())
    throw ValueError(message("program: there is no class ", batch_class, " of ", impl_->classes.size()));
  const auto r = impl_->record(impl_->classes[batch_class].sample);
  std::vector<NodeReport> out;
  size_t call = 0;
  for (size_t i = 0; i < r->ends.size(); ++i) {
    NodeReport node;
    for (; call < r->ends[i]; ++call) {
      if (!node.kernel.empty()) node.kernel += '+';
      node.kernel += r->calls[call]->kernel;
    }
    if (const auto& op = impl_->prepared[batch_class][i]) {
      node.trials = op->tuned().trials;
      node.packed = op->packed();
    }
    out.push_back(std::move(node));
  }
  return out;
}

int64_t Program::arena_bytes(int64_t rows) const { return int64_t(impl_->record(rows)->arena_bytes); }

std::vector<ArenaPiece> Program::arena(int64_t rows) const { return impl_->record(rows)->arena; }

std::vector<double> Program::profile(std::span<const Tensor> inputs, int repeats) const {
  if (repeats < 1) throw ValueError(message("program: cannot profile ", repeats, " calls"));
  const auto r = impl_->recording(inputs);
  std::vector<Tensor> outputs;
  for (const Layout& l : r->outputs) outputs.push_back(l.empty());
  std::vector<std::vector<double>> times(r->ends.size());
  for (int repeat = -1; repeat < repeats; ++repeat)  // the first one warms up
    impl_->with_arena(*r, [&](Arena& arena) {
      std::byte* const* const memory = arena.place(*r, inputs, outputs);
      size_t call = 0;
      for (size_t i = 0; i < r->ends.size(); ++i) {
        const Stopwatch watch;
        for (; call < r->ends[i]; ++call) r->calls[call]->run(memory);
        if (repeat >= 0) times[i].push_back(watch.ms());
      }
    });
  std::vector<double> medians;
  for (auto& t : times) {
    std::ranges::nth_element(t, t.begin() + repeats / 2);
    medians.push_back(t[size_t(repeats / 2)]);
  }
  return medians;
}

}  // namespace mininn::nn::graph
