#include "quant/int8_net.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "core/integers.h"
#include "core/kernel.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "core/tuner.h"
#include "ops/layout.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlayout.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qpool.h"
#include "ops/quantize.h"
#include "quant/grid/qtensor.h"
#include "quant/overloaded.h"
#include "quant/real_steps.h"

namespace mininn::quant {
namespace {

constexpr size_t kAlign = 64;
constexpr int64_t kSmallBatch = 4;      // up to here kernels for one image
constexpr int64_t kMaxBatch = 1 << 16;  // images that go through together
constexpr int64_t kMaxArena = 1 << 30;  // bytes of activations, unless one image takes more
const Device kCpu = Device::cpu();

size_t image_bytes(const Int8Value& v) {
  const int64_t bytes = v.kind == Int8Value::Kind::codes  ? v.h * v.w * min_pixel_stride(v.c)
                        : v.kind == Int8Value::Kind::sums ? v.c * 4
                                                          : v.c * v.h * v.w * 4;
  return round_up(size_t(bytes), kAlign);
}

// Where each value lies in one block of memory: `offset[v] * n` for a batch of n.
struct Plan {
  std::vector<size_t> offset;
  size_t bytes = 0;  // per image

  // Every value in its own place.
  static Plan separate(const Int8Model& m) {
    Plan p;
    for (const Int8Value& v : m.values) {
      p.offset.push_back(p.bytes);
      p.bytes += image_bytes(v);
    }
    return p;
  }

  // Values share memory unless they are alive at the same time: largest first, each at the lowest offset that is free
  // for as long as it lives (Pisarchyk and Lee 2020, "greedy by size").
  static Plan shared(const Int8Model& m) {
    struct Life {
      int from = 0, to = 0;  // first and last step that needs the value
    };
    std::vector<Life> life(m.values.size());
    for (int i = 0; i < int(m.steps.size()); ++i) {
      life[size_t(m.steps[size_t(i)].output)] = {i, i};
      for (const int v : m.steps[size_t(i)].inputs) life[size_t(v)].to = i;
    }
    life[0].from = -1;                                // written before the first step
    life[size_t(m.output)].to = int(m.steps.size());  // read after the last one

    std::vector<size_t> order(m.values.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return image_bytes(m.values[a]) > image_bytes(m.values[b]); });
    Plan p;
    p.offset.resize(m.values.size(), 0);
    std::vector<size_t> placed;  // ascending by offset
    for (const size_t v : order) {
      const size_t size = image_bytes(m.values[v]);
      size_t at = 0;
      for (const size_t other : placed) {
        if (life[other].to < life[v].from || life[v].to < life[other].from) continue;
        if (p.offset[other] >= at + size) break;
        at = std::max(at, p.offset[other] + image_bytes(m.values[other]));
      }
      p.offset[v] = at;
      p.bytes = std::max(p.bytes, at + size);
      placed.insert(std::upper_bound(placed.begin(), placed.end(), v,
                                     [&](size_t a, size_t b) { return p.offset[a] < p.offset[b]; }),
                    v);
    }
    return p;
  }
};

// The memory of one run.
struct Buffers {
  const Int8Model& model;
  const std::vector<size_t>& offset;
  std::byte* base;
  int64_t n;
  std::byte* result = nullptr;  // where a real result goes, unless null

  View operator()(int id) const {
    const Int8Value& v = model.values[size_t(id)];
    const bool is_result = result && id == model.output && v.kind == Int8Value::Kind::real;
    std::byte* p = is_result ? result : base + offset[size_t(id)] * size_t(n);
    const Shape shape = v.shape(n);
    switch (v.kind) {
      case Int8Value::Kind::codes: return {p, shape, pixel_strides(shape, min_pixel_stride(v.c)), DType::u8};
      case Int8Value::Kind::sums: return {p, {n, v.c}, {v.c, 1}, DType::i32};
      case Int8Value::Kind::real: break;
    }
    return {p, shape, channels_last_strides(shape), DType::f32};
  }
};

using ConvChoice = KernelChoice<op::QConv2d>;

// A step with its kernel chosen and its weights packed.
struct BoundStep {
  std::string kernel;
  Traits traits;
  ConvChoice choice;  // a convolution's
  Tensor packed;
  std::function<void(const Buffers&)> run;
};

// bind(buffers) makes the kernel's arguments; `sample` holds no memory that may be read.
template <class Args, class Bind>
BoundStep bind_step(const KernelTable<Args>& table, void (*check)(const Args&), const Buffers& sample, Bind bind) {
  const Args args = bind(sample);
  check(args);
  const Kernel<Args>& kernel = table.select(args, kCpu);
  return {std::string(kernel.name), kernel.traits, {}, {}, [bind, run = kernel.run](const Buffers& b) {
            run(bind(b), {kCpu, current_stream(kCpu)});
          }};
}

op::QConv2d conv_args(const Int8Step& s, const Int8Conv& c, const Tensor& multiplier, const BorderClasses& border,
                      const Buffers& b) {
  const Int8Model& m = b.model;
  const Int8Value &x = m.values[size_t(s.inputs[0])], &y = m.values[size_t(s.output)];
  op::QConv2d a;
  a.g = geometry(m, s, c, b.n);
  a.x = b(s.inputs[0]);
  a.x_zero = x.q.zero_point;
  a.w = c.weight.view();
  a.bias = c.bias.view();
  if (c.bias.size(0) > 1) {
    const auto view = [](const std::vector<int32_t>& v) {
      return CView(reinterpret_cast<const std::byte*>(v.data()), {int64_t(v.size())}, {1}, DType::i32);
    };
    a.row_class = view(border.row);
    a.col_class = view(border.col);
  }
  a.multiplier = multiplier.view();
  const bool codes = y.kind == Int8Value::Kind::codes;
  if (s.inputs.size() == 2) {
    const QParams& r = m.values[size_t(s.inputs[1])].q;
    a.residual = b(s.inputs[1]);
    a.residual_scale = float(double(r.scale) / (codes ? double(y.q.scale) : 1.0));
    a.residual_zero = r.zero_point;
  }
  a.y = b(s.output);
  if (codes) {
    a.y_zero = y.q.zero_point;
    a.lo = c.lo;
    a.hi = c.hi;
  }
  return a;
}

// x_scale * weight_scale[o] / y_scale, rounded once.
Tensor multipliers(double x_scale, const Tensor& weight_scale, double y_scale) {
  Tensor t = Tensor::empty(weight_scale.shape());
  const auto in = weight_scale.data<float>();
  const auto out = t.mutable_data<float>();
  for (size_t o = 0; o < in.size(); ++o) out[o] = float(x_scale * double(in[o]) / y_scale);
  return t;
}

// Chooses a convolution's kernel.
using Choose = std::function<ConvChoice(const op::QConv2d&)>;

// Makes a step for batches about as large as the one of `sample`. `others` are the same step for other batches.
class Binder {
 public:
  Binder(const Int8Step& s, const Buffers& sample, const Choose& choose, const std::vector<const BoundStep*>& others)
      : s_(s), sample_(sample), choose_(choose), others_(others), x_(value(s.inputs[0])), y_(value(s.output)) {}

  BoundStep operator()(const Int8Conv& c) const {
    const bool codes = y_.kind == Int8Value::Kind::codes;
    const auto border = std::make_shared<const BorderClasses>(
        c.bias.size(0) > 1 ? border_classes(geometry(sample_.model, s_, c, 1)) : BorderClasses());
    const Tensor multiplier = multipliers(double(x_.q.scale), c.weight_scale, codes ? double(y_.q.scale) : 1.0);
    const auto bind = [&s = s_, &c, multiplier, border](const Buffers& b) {
      return conv_args(s, c, multiplier, *border, b);
    };
    const op::QConv2d args = bind(sample_);
    check_qconv2d(args);
    const ConvChoice choice = choose_(args);
    const Kernel<op::QConv2d>& kernel = *choice.kernel;
    // Steps with the same kernel share its packed weights if they may.
    const auto other = std::find_if(others_.begin(), others_.end(), [&](const BoundStep* o) {
      return o->kernel == kernel.name && kernel.traits.packing_serves_any_batch;
    });
    const Tensor packed = other != others_.end() ? (*other)->packed : kernel.pack(args);
    return {std::string(kernel.name), kernel.traits, choice, packed,
            [bind, packed, run = kernel.run](const Buffers& b) {
              op::QConv2d a = bind(b);
              a.packed = packed.view().data;
              run(a, {kCpu, current_stream(kCpu)});
            }};
  }
  BoundStep operator()(const Int8Linear& l) const {
    const double pixels = double(x_.h * x_.w);
    const Tensor multiplier = multipliers(double(x_.q.scale) / pixels, l.weight_scale, 1.0);
    return bind_step(
        kernels<op::QLinear>(), check_qlinear, sample_, [&s = s_, &l, &x = x_, multiplier](const Buffers& b) {
          const View y = b(s.output);
          return op::QLinear{b(s.inputs[0]),    int32_t(255 * x.h * x.w),
                             l.weight.view(),   l.bias.view(),
                             multiplier.view(), View(y.data, {b.n, y.shape[1]}, {y.shape[1], 1}, DType::f32)};
        });
  }
  BoundStep operator()(const Int8MaxPool& p) const {
    if (y_.kind == Int8Value::Kind::real)
      return real_step([&s = s_, &p, &x = x_](const Buffers& b) {
        real_max_pool({b(s.inputs[0]), x.q}, p.window, b(s.output));
      });
    return bind_step(kernels<op::QMaxPool2d>(), check_qmax_pool2d, sample_, [&s = s_, &p](const Buffers& b) {
      return op::QMaxPool2d{b(s.inputs[0]), p.window, b(s.output)};
    });
  }
  BoundStep operator()(const Int8AvgPool& p) const {
    if (y_.kind == Int8Value::Kind::real)
      return real_step([&s = s_, &p, &x = x_](const Buffers& b) {
        real_avg_pool({b(s.inputs[0]), x.q}, p.window, p.count_include_pad, b(s.output));
      });
    return bind_step(kernels<op::QAvgPool2d>(), check_qavg_pool2d, sample_,
                     [&s = s_, &p, &x = x_, &y = y_](const Buffers& b) {
                       op::QAvgPool2d a;
                       a.x = b(s.inputs[0]);
                       a.x_zero = x.q.zero_point;
                       a.window = p.window;
                       a.count_include_pad = p.count_include_pad;
                       a.scale = float(double(x.q.scale) / double(y.q.scale));
                       a.y = b(s.output);
                       a.y_zero = y.q.zero_point;
                       return a;
                     });
  }
  BoundStep operator()(const Int8GlobalSum&) const {
    return bind_step(kernels<op::QGlobalSum>(), check_qglobal_sum, sample_, [&s = s_](const Buffers& b) {
      return op::QGlobalSum{b(s.inputs[0]), b(s.output)};
    });
  }
  BoundStep operator()(const Int8Lut& l) const {
    return bind_step(kernels<op::QLut>(), check_qlut, sample_, [&s = s_, &l](const Buffers& b) {
      return op::QLut{b(s.inputs[0]), l.table.view(), b(s.output)};
    });
  }
  BoundStep operator()(const RealUnary& u) const {
    return real_step([&s = s_, &x = x_, f = real_function(u.op), value = u.value](const Buffers& b) {
      real_unary(f, value, {b(s.inputs[0]), x.q}, b(s.output));
    });
  }
  BoundStep operator()(const Int8Add& add) const {
    if (y_.kind == Int8Value::Kind::real)
      return real_step([&s = s_, &x = x_, &other = value(s_.inputs[1])](const Buffers& b) {
        real_add({b(s.inputs[0]), x.q}, {b(s.inputs[1]), other.q}, b(s.output));
      });
    return bind_step(kernels<op::QAdd>(), check_qadd, sample_,
                     [&s = s_, &add, &x = x_, &other = value(s_.inputs[1]), &y = y_](const Buffers& b) {
                       op::QAdd a;
                       a.a = b(s.inputs[0]);
                       a.b = b(s.inputs[1]);
                       a.a_zero = x.q.zero_point;
                       a.b_zero = other.q.zero_point;
                       a.a_scale = float(double(x.q.scale) / double(y.q.scale));
                       a.b_scale = float(double(other.q.scale) / double(y.q.scale));
                       a.y = b(s.output);
                       a.y_zero = y.q.zero_point;
                       a.lo = add.lo;
                       a.hi = add.hi;
                       return a;
                     });
  }

 private:
  const Int8Value& value(int id) const { return sample_.model.values[size_t(id)]; }
  static BoundStep real_step(std::function<void(const Buffers&)> run) {
    return {"own.real", {}, {}, {}, std::move(run)};
  }

  const Int8Step& s_;
  const Buffers& sample_;
  const Choose& choose_;
  const std::vector<const BoundStep*>& others_;
  const Int8Value &x_, &y_;
};

// Lets errors about a step name it.
template <class Fn>
auto about(const Int8Step& s, Fn fn) {
  const auto what = [&](const Error& e) { return message("int8 net: step ", excerpt(s.name), ": ", e.what()); };
  try {
    return fn();
  } catch (const ShapeError& e) {
    throw ShapeError(what(e));
  } catch (const ValueError& e) {
    throw ValueError(what(e));
  } catch (const KernelError& e) {
    throw KernelError(what(e));
  }
}

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

// run(load): load() brings images [begin, begin + n) of x into the network's first buffer. Its kernel is chosen here,
// so that load() may be called in a parallel region.
template <class Run>
void with_input(const Buffers& b, const Tensor& x, int64_t begin, const Run& run) {
  const CView all = x.view();
  Strides strides = all.strides;
  while (strides.rank() < 4) strides.push_back(1);
  const CView images(all.data + begin * strides[0] * int64_t(size_of(all.dtype)), b.model.values[0].shape(b.n), strides,
                     all.dtype);
  const auto use = [&](const auto& table, const auto& args) {
    const auto& kernel = table.select(args, kCpu);
    run([&] { kernel.run(args, {kCpu, current_stream(kCpu)}); });
  };
  if (b.model.normalization)
    use(kernels<op::QPack>(), op::QPack{images, b(0)});
  else
    use(kernels<op::Quantize>(), op::Quantize{images, b.model.values[0].q, b(0)});
}
void load_input(const Buffers& b, const Tensor& x, int64_t begin) {
  with_input(b, x, begin, [](const auto& load) { load(); });
}

View real_view(std::byte* p, const Int8Value& v, int64_t n) {
  const Shape shape = v.shape(n);
  return {p, shape, channels_last_strides(shape), DType::f32};
}

}  // namespace

struct Int8Net::Program {
  // Batches up to a size, whose kernels are chosen for one of them.
  struct BatchClass {
    int64_t most, sample;
    std::vector<BoundStep> steps;
  };

  std::shared_ptr<const Int8Model> model;  // the steps refer to it
  Plan shared, separate;
  int64_t slice;                    // images that go through together
  std::vector<BatchClass> classes;  // ascending

  Program(std::shared_ptr<const Int8Model> m, int64_t wanted_slice)
      : model(std::move(m)),
        shared(Plan::shared(*model)),
        separate(Plan::separate(*model)),
        slice(std::clamp<int64_t>(kMaxArena / int64_t(shared.bytes), 1, wanted_slice)) {
    classes.push_back({kSmallBatch, 1, {}});
    const auto add = [&](int64_t most, int64_t sample) {
      if (most > classes.back().most) classes.push_back({most, std::max(sample, kSmallBatch + 1), {}});
    };
    add(slice / 2, slice / 4);
    add(slice, slice);
  }

  const std::vector<BoundStep>& steps(int64_t n) const {
    auto c = classes.begin();
    while (n > c->most && c + 1 != classes.end()) ++c;
    return c->steps;
  }

  // load(), then all steps on one batch. Kernels share one parallel region where they can.
  template <class Load>
  void run(const Buffers& b, const Load& load) const {
    const auto& all = steps(b.n);
    if (all.empty()) load();
    const auto joins = [](const BoundStep& s) { return s.traits.joins_region; };
    for (auto first = all.begin(); first != all.end();) {
      const auto last = joins(*first) ? std::find_if_not(first, all.end(), joins) : first + 1;
      const auto run_steps = [&] {
        if (first == all.begin()) load();
        for (auto s = first; s != last; ++s) s->run(b);
      };
      if (joins(*first))
        parallel_region(run_steps);
      else
        run_steps();
      first = last;
    }
  }

  // Chooses among the kernels for one image by the time of the whole network. bind(i, choice) makes step i.
  template <class Bind>
  void tune_together(Tuner& tuner, const Bind& bind) {
    std::vector<BoundStep>& small = classes[0].steps;
    std::vector<ConvChoice> choices;
    for (const BoundStep& s : small) choices.push_back(s.choice);
    Tensor memory;
    std::map<std::pair<size_t, const Kernel<op::QConv2d>*>, BoundStep> made;
    const auto use = [&](size_t i, const Kernel<op::QConv2d>& kernel) {
      // One shape after the other: the kernels that have lost for the shape before need not keep their weights.
      if (!made.empty() && choices[made.begin()->first.first].key != choices[i].key) made.clear();
      auto found = made.find({i, &kernel});
      if (found == made.end()) {
        const bool there = small[i].choice.kernel == &kernel;
        found = made.emplace(std::pair(i, &kernel), there ? small[i] : bind(i, choices[i])).first;
      }
      small[i] = found->second;
    };
    tuner.choose_together(choices, use, [&] {
      if (!memory) {
        memory = Tensor::empty({int64_t(shared.bytes) + int64_t(kAlign)}, DType::u8);
        Generator random(1);
        for (uint8_t& byte : memory.mutable_data<uint8_t>()) byte = uint8_t(random.below(256));
      }
      const Buffers one{*model, shared.offset, memory.mutable_view().data, 1};
      const Stopwatch watch;
      run(one, [] {});
      return watch.ms();
    });
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
  model.freeze();
  model_ = std::make_shared<const Int8Model>(std::move(model));
  repack();
}

void Int8Net::repack() {
  auto p = std::make_shared<Program>(model_, options_.slice);
  // Kernels are chosen by shapes alone: every view may point at the same byte.
  alignas(kAlign) std::byte nothing{};
  const std::vector<size_t> zeros(model_->values.size(), 0);
  // Between two runs of a layer all others read their weights, which packing makes one to eight times as large.
  int64_t between = 0;
  for (const Int8Step& s : model_->steps)
    if (const auto* c = std::get_if<Int8Conv>(&s.body)) between += 2 * c->weight.numel();
  const auto bind = [&](size_t i, int64_t n, const Choose& choose) {
    const Int8Step& s = model_->steps[i];
    const Buffers sample{*model_, zeros, &nothing, n};
    std::vector<const BoundStep*> others;
    for (const auto& c : p->classes)
      if (i < c.steps.size()) others.push_back(&c.steps[i]);
    return about(s, [&] { return std::visit(Binder(s, sample, choose, others), s.body); });
  };
  for (auto& c : p->classes)
    for (size_t i = 0; i < model_->steps.size(); ++i)
      c.steps.push_back(bind(i, c.sample, [&](const op::QConv2d& a) { return choose_kernel(a, kCpu, between); }));
  if (Tuner* const tuner = process_tuner(op::QConv2d::op)) {
    p->tune_together(*tuner, [&](size_t i, const ConvChoice& chosen) {
      return bind(i, 1, [&](const op::QConv2d&) { return chosen; });
    });
    tuner->save();
  }
  program_ = std::move(p);
}

Tensor Int8Net::forward(const Tensor& x) const {
  const Int8Model& m = *model_;
  check_input(m, x);
  const Int8Value& out = m.values[size_t(m.output)];
  const int64_t n = x.size(0), result_bytes = out.c * out.h * out.w * 4;
  Tensor y = m.flat_output ? Tensor::empty({n, out.c})
                           : Tensor::empty({n, out.c, out.h, out.w}, DType::f32, kCpu, MemoryFormat::channels_last);
  if (n == 0) return y;
  const int64_t slice = ceil_div(n, ceil_div(n, program_->slice));
  Tensor arena = Tensor::empty({int64_t(program_->shared.bytes) * slice + int64_t(kAlign)}, DType::u8);
  std::byte* const memory = arena.mutable_view().data;
  std::byte* const result = y.mutable_view().data;
  for (int64_t begin = 0; begin < n; begin += slice) {
    const Buffers b{m, program_->shared.offset, memory, std::min(slice, n - begin), result + begin * result_bytes};
    with_input(b, x, begin, [&](const auto& load) { program_->run(b, load); });
    if (out.kind == Int8Value::Kind::codes)
      kernels<op::Dequantize>().run({b(m.output), out.q, real_view(b.result, out, b.n)}, kCpu);
  }
  return y;
}

Report Int8Net::report() const {
  Report r;
  r.arena_bytes_per_image = int64_t(program_->shared.bytes);
  r.graph_macs = model_->graph_macs;
  for (const auto& c : program_->classes) r.batches.push_back(c.sample);
  for (size_t i = 0; i < model_->steps.size(); ++i) {
    const Int8Step& s = model_->steps[i];
    const Int8Value& y = model_->values[size_t(s.output)];
    LayerReport l;
    l.name = s.name;
    l.op = s.op;
    std::string last;
    std::set<const void*> packed;
    for (const auto& c : program_->classes) {
      const BoundStep& b = c.steps[i];
      if (b.kernel != last) l.kernel += (last.empty() ? "" : " / ") + b.kernel;
      last = b.kernel;
      l.trials.push_back(b.choice.trials);
      if (b.packed && packed.insert(b.packed.id()).second) l.packed_bytes += b.packed.numel();
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
  if (x.size(0) < 1 || x.size(0) > program_->slice || repeats < 1)
    throw ValueError(message("int8 net: cannot profile ", repeats, " runs of ", x.size(0), " images; 1 to ",
                             program_->slice, " go through together"));
  const int64_t n = x.size(0);
  Tensor memory = Tensor::empty({int64_t(program_->shared.bytes) * n + int64_t(kAlign)}, DType::u8);
  const Buffers b{*model_, program_->shared.offset, memory.mutable_view().data, n};
  const auto& steps = program_->steps(n);
  std::vector<std::vector<double>> times(steps.size());
  for (int r = -1; r < repeats; ++r) {  // the first run warms up
    load_input(b, x, 0);
    for (size_t i = 0; i < steps.size(); ++i) {
      const Stopwatch watch;
      steps[i].run(b);
      if (r >= 0) times[i].push_back(watch.ms());
    }
  }
  Report report = this->report();
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto middle = times[i].begin() + repeats / 2;
    std::nth_element(times[i].begin(), middle, times[i].end());
    report.layers[i].ms = *middle;
  }
  return report;
}

Int8Stepper::Int8Stepper(const Int8Net& net, int64_t n) : net_(net), n_(n) {
  if (n < 1 || n > kMaxBatch) throw ValueError(message("int8 stepper: a batch of ", n, ", not 1 to ", kMaxBatch));
  memory_ = Tensor::zeros({int64_t(net.program_->separate.bytes) * n + int64_t(kAlign)}, DType::u8);
}

void Int8Stepper::set_input(const Tensor& x) {
  check_input(net_.model(), x);
  if (x.size(0) != n_) throw ShapeError(message("int8 stepper: ", x.shape(), " is no batch of ", n_));
  load_input({net_.model(), net_.program_->separate.offset, memory_.mutable_view().data, n_}, x, 0);
}

const Int8Value& Int8Stepper::value(int id) const {
  const auto& values = net_.model().values;
  if (id < 0 || size_t(id) >= values.size())
    throw ValueError(message("int8 stepper: there is no value ", id, " among ", values.size()));
  return values[size_t(id)];
}

void Int8Stepper::set(int id, const Tensor& real) {
  const Int8Value& v = value(id);
  const Shape shape = v.shape(n_);
  if (v.kind == Int8Value::Kind::sums || real.numel() != numel(shape))
    throw ShapeError(message("int8 stepper: ", v.name, ' ', shape, " cannot be set to ", real.shape()));
  if (real.dtype() != DType::f32 || real.device() != kCpu)
    throw DTypeError(message("int8 stepper: ", v.name, " can be set to f32 on the CPU, not to ", name(real.dtype())));
  const CView all = real.view();
  if (all.shape != shape && !all.contiguous())
    throw ShapeError(message("int8 stepper: ", real.shape(), " must be contiguous to stand for ", shape));
  const Buffers b{net_.model(), net_.program_->separate.offset, memory_.mutable_view().data, n_};
  const CView x(all.data, shape, all.shape == shape ? all.strides : contiguous_strides(shape), all.dtype);
  if (v.kind == Int8Value::Kind::codes)
    kernels<op::Quantize>().run({x, v.q, b(id)}, kCpu);
  else
    kernels<op::Copy>().run({x, b(id)}, kCpu);
}

void Int8Stepper::run(size_t step) {
  const Buffers b{net_.model(), net_.program_->separate.offset, memory_.mutable_view().data, n_};
  const auto& steps = net_.program_->steps(n_);
  if (step >= steps.size()) throw ValueError(message("int8 stepper: there is no step ", step, " of ", steps.size()));
  steps[step].run(b);
}

Tensor Int8Stepper::raw(int id) const {
  const Int8Value& v = value(id);
  const auto offset = int64_t(net_.program_->separate.offset[size_t(id)]) * n_;
  const Shape shape = v.shape(n_);
  if (v.kind == Int8Value::Kind::codes) {
    Tensor copy = Tensor::empty(shape, DType::u8);
    copy.copy_from(memory_.as_strided(shape, pixel_strides(shape, min_pixel_stride(v.c)), offset));
    return copy;
  }
  const std::byte* const p = memory_.view().data + offset;
  if (v.kind == Int8Value::Kind::sums)
    return Tensor::from(std::span(reinterpret_cast<const int32_t*>(p), size_t(n_ * v.c)), {n_, v.c});
  Tensor copy = Tensor::empty(shape, DType::f32, kCpu, MemoryFormat::channels_last);
  std::copy_n(p, copy.numel() * 4, copy.mutable_view().data);
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
