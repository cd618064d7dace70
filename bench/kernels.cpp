// Times every kernel of the convolution tables on the layers of a shape file, beside the machine's peak and the
// vendor's kernel, after comparing its result with the reference.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/machine.h"
#include "bench/onednn_fused.h"
#include "bench/peaks.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "examples/cifar_resnet/command_line.h"
#include "examples/cifar_resnet/outputs.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/qconv2d.h"
#include "ops/qlayout.h"

using namespace mininn;
using namespace mininn::bench;
using nlohmann::json;

namespace {

constexpr uint64_t kMostOfShapes = 1 << 20;  // bytes

Shape x_shape(const Conv2dGeometry& g) { return {g.n, g.ic, g.ih, g.iw}; }
Shape y_shape(const Conv2dGeometry& g) { return {g.n, g.oc, g.oh, g.ow}; }
Shape w_shape(const Conv2dGeometry& g) { return {g.oc, g.icg(), g.kh, g.kw}; }

struct Layer {
  std::string name;
  Conv2dGeometry g;
  int64_t times = 1;  // how often the network has it
};

std::vector<Layer> read_shapes(const std::string& path, int64_t batch) {
  const File file = open_regular_file(path);
  if (file_size(file.get()) > kMostOfShapes)
    throw FileError(message(path, ": is larger than ", kMostOfShapes, " bytes"));
  std::istringstream in(read_all(file.get()));
  std::vector<Layer> layers;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    Layer l;
    int64_t ic, ih, iw, oc, kh, kw, stride, pad, groups;
    if (!(fields >> l.name >> ic >> ih >> iw >> oc >> kh >> kw >> stride >> pad >> groups >> l.times) || groups < 1)
      throw FileError(message(path, ":", number, ": a layer is: name ic ih iw oc kh kw stride pad groups times"));
    try {
      l.g = Conv2dGeometry::make(l.name.c_str(), {batch, ic, ih, iw}, {oc, ic / groups, kh, kw},
                                 {.stride = stride, .padding = pad, .groups = groups});
      for (const Shape& s : {x_shape(l.g), y_shape(l.g), w_shape(l.g)}) numel(s);  // may overflow
    } catch (const Error& e) {
      throw FileError(message(path, ":", number, ": ", e.what()));
    }
    layers.push_back(l);
  }
  if (layers.empty()) throw FileError(message(path, ": has no layers"));
  return layers;
}

struct Network {
  std::string shapes;  // the file
  int64_t batch;
  std::vector<Layer> layers;
};

// --- operands -----------------------------------------------------------------------------------------------------

// Uniform in [-1, 1), from a fixed seed.
Tensor random_tensor(const Shape& shape, DType dtype, MemoryFormat format) {
  Tensor t = Tensor::empty(shape, DType::f32, Device::cpu(), format);
  Generator g(1);
  for (float& v : t.mutable_data<float>()) v = float(g.next_u32()) * 0x1p-31f - 1.0f;
  return dtype == DType::f32 ? t : cast(t, dtype);
}
Tensor random_image(const Shape& s, DType t) { return random_tensor(s, t, MemoryFormat::channels_last); }
Tensor random_weights(const Shape& s, DType t) { return random_tensor(s, t, MemoryFormat::contiguous); }

// Image `n` of a batch.
template <class V>
V image(V v, int64_t n) {
  v.data += n * v.strides[0] * int64_t(size_of(v.dtype));
  v.shape[0] = 1;
  return v;
}

// The same call on image `n` alone.
op::Conv2dFwd one_image(op::Conv2dFwd a, int64_t n) {
  a.g.n = 1;
  a.x = image(a.x, n);
  a.y = image(a.y, n);
  return a;
}
op::Conv2dBwdData one_image(op::Conv2dBwdData a, int64_t n) {
  a.g.n = 1;
  a.gy = image(a.gy, n);
  a.gx = image(a.gx, n);
  return a;
}
op::QConv2d one_image(op::QConv2d a, int64_t n) {
  a.g.n = 1;
  a.x = image(a.x, n);
  a.y = image(a.y, n);
  return a;
}

View& output(op::Conv2dFwd& a) { return a.y; }
View& output(op::Conv2dBwdData& a) { return a.gx; }
View& output(op::QConv2d& a) { return a.y; }

// One op on one layer: its arguments, and the tensors that they point into.
template <class Args>
struct Problem {
  Args args;
  Tensor out;
  std::vector<Tensor> keep;
};

Problem<op::Conv2dFwd> make_problem(const KernelTable<op::Conv2dFwd>&, const Conv2dGeometry& g, DType t) {
  const Tensor x = random_image(x_shape(g), t), w = random_weights(w_shape(g), t);
  Tensor y = random_image(y_shape(g), t);
  return {{.g = g, .x = x.view(), .w = w.view(), .bias = {}, .residual = {}, .relu = false, .y = y.mutable_view()},
          y,
          {x, w}};
}
Problem<op::Conv2dBwdData> make_problem(const KernelTable<op::Conv2dBwdData>&, const Conv2dGeometry& g, DType t) {
  const Tensor gy = random_image(y_shape(g), t), w = random_weights(w_shape(g), t);
  Tensor gx = random_image(x_shape(g), t);
  return {{g, gy.view(), w.view(), gx.mutable_view()}, gx, {gy, w}};
}
Problem<op::Conv2dBwdWeights> make_problem(const KernelTable<op::Conv2dBwdWeights>&, const Conv2dGeometry& g, DType t) {
  const Tensor x = random_image(x_shape(g), t), gy = random_image(y_shape(g), t);
  Tensor gw = random_weights(w_shape(g), t);
  return {{g, x.view(), gy.view(), gw.mutable_view()}, gw, {x, gy}};
}
// Weights as a quantizer leaves trained ones: bell-shaped, the largest of each output channel 127. Uniform codes would
// be twice as large on average, and a kernel that is exact only for bounded sums of |w| would refuse layers here that
// it takes in every real network.
Tensor random_codes_of_weights(const Conv2dGeometry& g, Generator& random) {
  Tensor w = Tensor::empty(w_shape(g), DType::i8);
  const auto codes = w.mutable_data<int8_t>();
  const size_t taps = codes.size() / size_t(g.oc);
  std::vector<double> channel(taps);
  for (size_t begin = 0; begin < codes.size(); begin += taps) {
    double largest = 0;
    for (double& v : channel) largest = std::max(largest, std::abs(v = random.normal()));
    for (size_t i = 0; i < taps; ++i) codes[begin + i] = int8_t(std::lround(channel[i] * 127 / largest));
  }
  return w;
}

// Codes behind a ReLU (zero point 0), and multipliers that spread the results over all output codes.
Problem<op::QConv2d> make_problem(const KernelTable<op::QConv2d>&, const Conv2dGeometry& g, DType) {
  Generator random(1);
  Tensor x = empty_codes(x_shape(g));
  std::byte* const bytes = x.mutable_view().data;
  for (size_t i = 0; i < x.storage()->bytes(); ++i) bytes[i] = std::byte(random.below(256));
  const Tensor w = random_codes_of_weights(g, random);
  const Tensor bias = Tensor::zeros({1, g.oc}, DType::i32);
  Tensor multiplier = Tensor::empty({g.oc});
  const auto codes = w.data<int8_t>();
  const size_t taps = codes.size() / size_t(g.oc);
  for (size_t o = 0; o < size_t(g.oc); ++o) {
    double squares = 0;
    for (const int8_t v : codes.subspan(o * taps, taps)) squares += double(v) * v;
    const double spread = 148 * std::sqrt(squares);  // standard deviation of a sum; 148 is the codes' root mean square
    multiplier.mutable_data<float>()[o] = float(100 / spread);
  }
  Tensor y = empty_codes(y_shape(g));
  op::QConv2d a;
  a.g = g;
  a.x = x.view();
  a.w = w.view();
  a.bias = bias.view();
  a.multiplier = multiplier.view();
  a.y = y.mutable_view();
  return {a, y, {x, w, bias, multiplier}};
}

// --- is it right? ---------------------------------------------------------------------------------------------------

template <class T>
double largest_difference(const View& got, const View& want) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < got.size(); ++i) {
    const int64_t at = offset_of(got.shape, got.strides, i), in_want = offset_of(want.shape, want.strides, i);
    const double a = double(float(got.as<T>()[at])), b = double(float(want.as<T>()[in_want]));
    if (!(std::abs(a - b) <= difference)) difference = std::abs(a - b);  // NaN is a difference
    size = std::max(size, std::abs(b));
  }
  return size > 0 ? difference / size : difference;
}
double largest_difference(const View& got, const View& want) {
  switch (got.dtype) {
    case DType::f32: return largest_difference<float>(got, want);
    case DType::bf16: return largest_difference<bf16>(got, want);
    default: return largest_difference<uint8_t>(got, want);
  }
}

// An output like `like`, of its own.
struct Scratch {
  explicit Scratch(const View& like)
      : bytes(size_t(like.size()) * 4 + 64 + size_t(like.strides[0] * like.shape[0]) * size_of(like.dtype)),
        view(bytes.data(), like.shape, like.strides, like.dtype) {}
  std::vector<std::byte> bytes;
  View view;
};

template <class Args>
void run_kernel(const Kernel<Args>& k, Args& a) {
  k.run(a, {Device::cpu(), {}});
}
void run_kernel(const Kernel<op::QConv2d>& k, op::QConv2d& a) {
  const Tensor packed = k.pack(a);
  a.packed = packed.view().data;
  k.run(a, {Device::cpu(), {}});
}

// Largest difference of the result from the reference kernel's, relative to the largest result. The reference is slow,
// so it only computes the first and the last image.
template <class Args>
double error_of(const Kernel<Args>& reference, Args a) {
  double error = 0;
  for (const int64_t n : {int64_t{0}, a.g.n - 1}) {
    Args one = one_image(a, n);
    const View got = output(one);
    Scratch want(got);
    output(one) = want.view;
    run_kernel(reference, one);
    error = std::max(error, largest_difference(got, want.view));
  }
  return error;
}

// A weight gradient sums over all images, so here the reference computes all images for the first group, or without
// groups for the first four output channels.
double error_of(const Kernel<op::Conv2dBwdWeights>& reference, op::Conv2dBwdWeights a) {
  const auto channels = [](CView v, int64_t c) {  // a dense copy of the first c channels
    Tensor t =
        Tensor::empty({v.shape[0], c, v.shape[2], v.shape[3]}, v.dtype, Device::cpu(), MemoryFormat::channels_last);
    const int64_t pixels = v.shape[0] * v.shape[2] * v.shape[3], size = int64_t(size_of(v.dtype));
    std::byte* to = t.mutable_view().data;
    for (int64_t i = 0; i < pixels; ++i)
      std::memcpy(to + i * c * size, v.data + i * v.shape[1] * size, size_t(c * size));
    return t;
  };
  const int64_t oc = std::min<int64_t>(a.g.ocg(), 4);
  const Tensor x = channels(a.x, a.g.icg()), gy = channels(a.gy, oc);
  View got = a.gw;
  got.shape[0] = oc;
  Scratch want(got);
  a.g.ic = a.g.icg();
  a.g.oc = oc;
  a.g.groups = 1;
  a.x = x.view();
  a.gy = gy.view();
  a.gw = want.view;
  run_kernel(reference, a);
  return largest_difference(got, want.view);
}

// --- the measurement ------------------------------------------------------------------------------------------------

struct Options {
  std::vector<std::string> ops{"conv2d_fwd", "conv2d_bwd_data", "conv2d_bwd_weights", "qconv2d"};
  std::vector<std::string> shapes{MININN_SHAPES "/resnet18_cifar.txt"};
  std::vector<int64_t> batches{1, 32};
  std::vector<int> threads{num_threads()};
  std::string dtype = "f32", only, json_path;
  double seconds = 0.3;
};

struct Totals {  // seconds per pass over the network's layers
  double chosen = 0;
  double vendor = 0;  // the dispatched kernel stands in where the vendor's refuses
};

template <class Args>
constexpr bool kInteger = std::is_same_v<Args, op::QConv2d>;

// The last kernel of every list is the slow, obvious one.
template <class Args>
const Kernel<Args>& reference_of(const KernelTable<Args>& table) {
  return table.candidates(DeviceType::cpu).back();
}

// A line of the table beside its times.
struct Row {
  std::string kernel;
  double error, allowed;  // of its result
  bool chosen, vendor;
};

template <class Args>
bool bench_layer(const KernelTable<Args>& table, const Layer& layer, int threads, const Options& o, Totals& totals,
                 json& rows) {
  const DType dtype = o.dtype == "bf16" ? DType::bf16 : DType::f32;
  const double tolerance = kInteger<Args> ? 0 : dtype == DType::bf16 ? 2e-2 : 1e-4;
  Problem<Args> problem = make_problem(table, layer.g, dtype);
  const Kernel<Args>& reference = reference_of(table);
  const Kernel<Args>& chosen = table.select(problem.args, Device::cpu());

  // Every kernel but the reference, which is only timed where nothing else is chosen.
  struct Candidate {
    const Kernel<Args>* kernel;
    Args args;
    Tensor packed;
    double error;
  };
  std::vector<Candidate> candidates;
  for (const Kernel<Args>& k : table.candidates(DeviceType::cpu)) {
    if (k.name == reference.name && k.name != chosen.name) continue;
    if (k.name.find(o.only) == std::string::npos && k.name != chosen.name) continue;
    if (k.refusal(problem.args)) continue;
    Candidate c{&k, problem.args, {}, 0};
    if constexpr (kInteger<Args>) {
      c.packed = k.pack(c.args);
      c.args.packed = c.packed.view().data;
    }
    std::memset(problem.out.mutable_view().data, 0x7f, problem.out.storage()->bytes());
    k.run(c.args, {Device::cpu(), {}});
    c.error = error_of(reference, c.args);
    candidates.push_back(std::move(c));
  }

  std::vector<Row> table_rows;
  std::vector<std::function<void()>> runs;
  for (Candidate& c : candidates) {
    table_rows.push_back({std::string(c.kernel->name), c.error, tolerance, c.kernel->name == chosen.name,
                          c.kernel->traits.family == Family::vendor});
    runs.push_back([&c] { c.kernel->run(c.args, {Device::cpu(), {}}); });
  }
  std::unique_ptr<OneDnnFused> fused;
  if constexpr (kInteger<Args>) fused = OneDnnFused::make(problem.args);
  if (fused) {
    fused->run();
    const double error = fused->largest_difference(problem.out.mutable_view()) / 255.0;  // from the last candidate's
    table_rows.push_back({"onednn.fused", error, 1.001 / 255, false, true});
    runs.push_back([&fused] { fused->run(); });
  }

  const auto measure_peak = kInteger<Args> ? peak_dot_gmacs : peak_fma_gflops;
  double peak = measure_peak();
  constexpr double kTurn = 1e-3;  // or a candidate would find its output in another core's cache
  const std::vector<Timing> timings = interleave(runs, o.seconds, kTurn);
  peak = std::max(peak, measure_peak());

  std::optional<double> vendor;  // the fastest of its kernels
  for (size_t i = 0; i < runs.size(); ++i)
    if (table_rows[i].vendor) vendor = std::min(vendor.value_or(INFINITY), timings[i].median);

  bool right = true;
  const double work = double(layer.g.macs()) * (kInteger<Args> ? 1 : 2) / 1e9;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& [kernel, error, allowed, is_chosen, is_vendor] = table_rows[i];
    const Timing& t = timings[i];
    if (is_chosen) {
      totals.chosen += t.median * double(layer.times);
      totals.vendor += vendor.value_or(t.median) * double(layer.times);
    }
    const double rate = work / t.median;
    std::printf("%-12s %c %-26s %9.3f %9.3f %9.3f %8.0f", i ? "" : layer.name.c_str(), is_chosen ? '*' : ' ',
                kernel.c_str(), t.median * 1e3, t.p10 * 1e3, t.p90 * 1e3, rate);
    if (peak > 0)
      std::printf(" %6.0f%%", 100 * rate / peak);
    else
      std::printf(" %7s", "-");
    if (vendor)
      std::printf(" %7.2fx", *vendor / t.median);
    else
      std::printf(" %8s", "-");
    std::printf("  %.1e\n", error);
    if (!(error <= allowed)) {
      std::printf("WRONG RESULT: %s on %s differs from %s by %.1e (allowed: %.1e)\n", kernel.c_str(),
                  layer.name.c_str(), std::string(reference.name).c_str(), error, allowed);
      right = false;
    }
    rows.push_back({{"op", Args::op},
                    {"layer", layer.name},
                    {"batch", layer.g.n},
                    {"threads", threads},
                    {"dtype", kInteger<Args> ? "int8" : o.dtype},
                    {"kernel", kernel},
                    {"chosen", is_chosen},
                    {"ms", t.median * 1e3},
                    {"ms_p10", t.p10 * 1e3},
                    {"ms_p90", t.p90 * 1e3},
                    {"calls", t.calls},
                    {kInteger<Args> ? "gmac_per_s" : "gflop_per_s", rate},
                    {"peak", peak},
                    {"times_vendor", vendor ? json(*vendor / t.median) : json()},
                    {"error", error}});
  }
  if (chosen.name == reference.name)
    std::printf(
        "WARNING: %s is what runs here, the slow reference: no faster kernel takes %s of %s "
        "(MININN_VERBOSE=dispatch says why)\n",
        std::string(reference.name).c_str(), std::string(Args::op).c_str(), layer.name.c_str());
  std::fflush(stdout);
  return right;
}

template <class Args>
bool bench_table(const KernelTable<Args>& table, const std::vector<Network>& networks, const Options& o, json& rows) {
  if (std::find(o.ops.begin(), o.ops.end(), Args::op) == o.ops.end()) return true;
  bool right = true;
  for (const Network& network : networks)
    for (const int threads : o.threads) {
      set_num_threads(threads);
      const std::string type = kInteger<Args> ? "int8" : o.dtype;
      std::printf("\n%s, %s, %s, batch %lld, %d thread%s\n", std::string(Args::op).c_str(), type.c_str(),
                  network.shapes.c_str(), static_cast<long long>(network.batch), threads, threads == 1 ? "" : "s");
      std::printf("%-12s   %-26s %9s %9s %9s %8s %7s %8s  %s\n", "layer", "kernel (* = dispatched)", "ms", "p10", "p90",
                  kInteger<Args> ? "GMAC/s" : "GFLOP/s", "peak", "vendor", "error");
      Totals totals;
      for (const Layer& layer : network.layers) right &= bench_layer(table, layer, threads, o, totals, rows);
      std::printf("whole network: dispatched kernels %.3f ms, the vendor's where it has one %.3f ms (%.2fx)\n",
                  totals.chosen * 1e3, totals.vendor * 1e3, totals.vendor / totals.chosen);
    }
  return right;
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("Times every convolution kernel on the layers of a network.");
  using cifar_resnet::add_list, cifar_resnet::whole;
  add_list(app, "--op", o.ops, "which operations", CLI::IsMember(o.ops));
  add_list(app, "--shapes", o.shapes, "shape files", cifar_resnet::path());
  add_list(app, "--batch", o.batches, "batch sizes", whole(1, cifar_resnet::kMostBatch));
  add_list(app, "--threads", o.threads, "numbers of threads", whole(1, cifar_resnet::kMostThreads));
  app.add_option("--dtype", o.dtype, "of the floating ops")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--only", o.only, "only kernels whose name contains this, and the dispatched one");
  app.add_option("--seconds", o.seconds, "per candidate and layer")
      ->check(cifar_resnet::between(1e-9, 1e6))
      ->capture_default_str();
  app.add_option("--json", o.json_path, "also write the rows to this file")->check(cifar_resnet::path());
  if (const auto status = cifar_resnet::parse(app, "bench_kernels", argc, argv)) return *status;
  std::vector<cifar_resnet::NamedFile> read;
  for (const std::string& shapes : o.shapes) read.push_back({"--shapes", shapes});
  cifar_resnet::require_distinct({{"--json", o.json_path}}, read);
  if (!o.json_path.empty()) require_writable(o.json_path);
  std::vector<Network> networks;
  for (const std::string& shapes : o.shapes)
    for (const int64_t batch : o.batches) networks.push_back({shapes, batch, read_shapes(shapes, batch)});

  json report = describe_machine(o.threads);
  json rows = json::array();
  bool right = bench_table(kernels<op::Conv2dFwd>(), networks, o, rows);
  right &= bench_table(kernels<op::Conv2dBwdData>(), networks, o, rows);
  right &= bench_table(kernels<op::Conv2dBwdWeights>(), networks, o, rows);
  right &= bench_table(kernels<op::QConv2d>(), networks, o, rows);
  report["rows"] = rows;
  if (!o.json_path.empty()) write_report(o.json_path, report);
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large (ulimit -f) is an error to report
  try {
    const int status = run(argc, argv);
    flush_standard_output();
    return status;
  } catch (const std::exception& e) {
    std::cerr << "bench_kernels: " << e.what() << '\n';
    return 1;
  }
}
