// Times every kernel of the convolution tables on the layers of a shape file, beside the machine's peak and the
// vendor's kernel, after comparing its result with the reference.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/machine.h"
#include "bench/onednn_fused.h"
#include "bench/peaks.h"
#include "bench/problem.h"
#include "bench/program.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/stopwatch.h"
#include "examples/cifar_resnet/command_line.h"
#include "examples/cifar_resnet/outputs.h"
#include "ops/conv2d.h"
#include "ops/qconv2d.h"

using namespace mininn;
using namespace mininn::bench;
using nlohmann::json;

namespace {

struct Network {
  std::string shapes;  // the file
  int64_t batch;
  std::vector<Layer> layers;
};

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
  std::string dtype = "f32", only, json_path, device = "cpu";
  double seconds = 0.3;

  Device where() const { return Device::parse(device); }
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

// A kernel of a device, once; it may still be running there.
template <class Args>
void start(const Kernel<Args>& k, const Args& a, Device d) {
  k.run(a, {d, current_stream(d)});
}

// A kernel that is timed. It has run once already, and its result has been compared.
template <class Args>
struct Candidate {
  const Kernel<Args>* kernel;
  Args args;
  Tensor packed;
  double error;
};

// Every kernel that takes the call but the reference, which is only timed where nothing else is chosen. `host` has the
// same operands as `problem`, and gets the results.
template <class Args>
std::vector<Candidate<Args>> candidates(const KernelTable<Args>& table, const Kernel<Args>& chosen,
                                        Problem<Args>& problem, Problem<Args>& host, const std::string& only) {
  const Kernel<Args>& reference = reference_of(table);
  const Device d = problem.out.device();
  std::vector<Candidate<Args>> out;
  for (const Kernel<Args>& k : table.candidates(d.type)) {
    if (k.name == reference.name && k.name != chosen.name) continue;
    if (k.name.find(only) == std::string::npos && k.name != chosen.name) continue;
    if (k.refusal(problem.args)) continue;
    Candidate<Args> c{&k, problem.args, {}, 0};
    if constexpr (kInteger<Args>) {
      c.packed = k.pack(c.args);
      c.args.packed = c.packed.view().data;
    }
    problem.out.fill(127);
    start(k, c.args, d);
    host.out.copy_from(problem.out);
    c.error = error_of(reference, host.args);
    out.push_back(std::move(c));
  }
  return out;
}

// A line of the table.
struct Row {
  std::string kernel;
  double error, allowed;  // of its result
  bool chosen, vendor;
  int calls = 1;  // of a turn
  Timing time = {};
};

// Beside a row's own time: the layer's work, 10^9 operations, the machine's peak, 0 if unknown, and the fastest of the
// vendor's kernels.
struct Yardstick {
  double work, peak;
  std::optional<double> vendor;
};

void print(const Row& r, const std::string& layer, const Yardstick& y) {
  const double rate = y.work / r.time.median;
  std::printf("%-12s %c %-26s %9.3f %9.3f %9.3f %8.0f", layer.c_str(), r.chosen ? '*' : ' ', r.kernel.c_str(),
              r.time.median * 1e3, r.time.p10 * 1e3, r.time.p90 * 1e3, rate);
  if (y.peak > 0)
    std::printf(" %6.0f%%", 100 * rate / y.peak);
  else
    std::printf(" %7s", "-");
  if (y.vendor)
    std::printf(" %7.2fx", *y.vendor / r.time.median);
  else
    std::printf(" %8s", "-");
  std::printf("  %.1e\n", r.error);
}

template <class Args>
json to_json(const Row& r, const Layer& layer, int threads, const std::string& dtype, const Yardstick& y) {
  return {{"op", Args::op},
          {"layer", layer.name},
          {"batch", layer.g.n},
          {"threads", threads},
          {"dtype", kInteger<Args> ? "int8" : dtype},
          {"kernel", r.kernel},
          {"chosen", r.chosen},
          {"ms", r.time.median * 1e3},
          {"ms_p10", r.time.p10 * 1e3},
          {"ms_p90", r.time.p90 * 1e3},
          {"calls", r.time.calls},
          {kInteger<Args> ? "gmac_per_s" : "gflop_per_s", y.work / r.time.median},
          {"peak", y.peak},
          {"times_vendor", y.vendor ? json(*y.vendor / r.time.median) : json()},
          {"error", r.error}};
}

// Calls of a turn: one on the CPU. Other devices run while the host goes on, so they get as many as fill 2 ms before it
// waits.
template <class Args>
int calls_at_once(const Candidate<Args>& c, Device d) {
  if (d.type == DeviceType::cpu) return 1;
  const Stopwatch one;
  start(*c.kernel, c.args, d);
  synchronize(current_stream(d));
  return std::clamp(int(2e-3 / one.seconds()), 1, 20);
}

Timing per_call(Timing t, int calls) {
  for (double* const seconds : {&t.median, &t.least, &t.p10, &t.p90}) *seconds /= calls;
  t.calls *= size_t(calls);
  return t;
}

template <class Args>
bool bench_layer(const KernelTable<Args>& table, const Layer& layer, int threads, const Options& o, Totals& totals,
                 json& rows) {
  const DType dtype = o.dtype == "bf16" ? DType::bf16 : DType::f32;
  const double tolerance = kInteger<Args> ? 0 : dtype == DType::bf16 ? 3e-2 : 1e-4;
  const Device d = o.where();
  Problem<Args> host = make_problem(table, layer.g, dtype), problem = on(d, host);
  const Kernel<Args>& reference = reference_of(table);
  const Kernel<Args>& chosen = table.select(problem.args, d);

  std::vector<Candidate<Args>> timed = candidates(table, chosen, problem, host, o.only);
  std::vector<Row> lines;
  std::vector<std::function<void()>> runs;
  for (Candidate<Args>& c : timed) {
    lines.push_back({std::string(c.kernel->name), c.error, tolerance, c.kernel->name == chosen.name,
                     c.kernel->traits.family == Family::vendor, calls_at_once(c, d)});
    runs.push_back([&c, d, n = lines.back().calls] {
      for (int i = 0; i < n; ++i) start(*c.kernel, c.args, d);
      synchronize(current_stream(d));
    });
  }
  std::unique_ptr<OneDnnFused> fused;
  if constexpr (kInteger<Args>)
    if (d.type == DeviceType::cpu) fused = OneDnnFused::make(problem.args);
  if (fused) {
    fused->run();
    const double error = fused->largest_difference(problem.out.mutable_view()) / 255.0;  // from the last candidate's
    lines.push_back({"onednn.fused", error, 1.001 / 255, false, true});
    runs.push_back([&fused] { fused->run(); });
  }

  const auto measure_peak = [&] { return kInteger<Args> ? peak_int8_gmacs(d) : peak_float_gflops(d, dtype); };
  const double peak_before = measure_peak();
  constexpr double kTurn = 1e-3;  // or a candidate would find its output in another core's cache
  const std::vector<Timing> timings = interleave(runs, o.seconds, kTurn);
  Yardstick y{double(layer.g.macs()) * (kInteger<Args> ? 1 : 2) / 1e9, std::max(peak_before, measure_peak()), {}};
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].time = per_call(timings[i], lines[i].calls);
    if (lines[i].vendor) y.vendor = std::min(y.vendor.value_or(INFINITY), lines[i].time.median);
  }

  bool right = true;
  for (const Row& r : lines) {
    if (r.chosen) {
      totals.chosen += r.time.median * double(layer.times);
      totals.vendor += y.vendor.value_or(r.time.median) * double(layer.times);
    }
    print(r, &r == lines.data() ? layer.name : "", y);
    if (!(r.error <= r.allowed)) {
      std::printf("WRONG RESULT: %s on %s differs from %s by %.1e (allowed: %.1e)\n", r.kernel.c_str(),
                  layer.name.c_str(), std::string(reference.name).c_str(), r.error, r.allowed);
      right = false;
    }
    rows.push_back(to_json<Args>(r, layer, threads, o.dtype, y));
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
  app.add_option("--device", o.device, "cpu, cuda or cuda:N; results are compared with the CPU's reference")
      ->capture_default_str();
  app.add_option("--dtype", o.dtype, "of the floating ops: of their activations, while weights are f32")
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

  const Device d = o.where();
  json report = describe_machine(o.threads);
  if (d.type == DeviceType::cuda) report["device_peaks"] = describe_device(d);
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

int main(int argc, char** argv) { return run_program("bench_kernels", run, argc, argv); }
