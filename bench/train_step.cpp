// Times a training step of ResNet-18 for 32x32 images: forward, loss, backward and SGD, without loading data.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/machine.h"
#include "bench/peaks.h"
#include "bench/program.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "examples/cifar_resnet/command_line.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/outputs.h"
#include "nn/optim/sgd.h"
#include "ops/cast.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/layout.h"
#include "quant/int8_model.h"

using namespace mininn;
using namespace mininn::bench;
using nlohmann::json;

namespace {

struct Options {
  std::vector<int64_t> batches{128};
  std::vector<int> threads{1, 2};
  double seconds = 10;
  int64_t base_channels = 64;
  bool amp = false;
  std::string json_path, device = "cpu";
  bool serve = false;
};

// A network in training, with a batch that it sees again and again.
class Training {
 public:
  Training(int64_t batch, const Options& o)
      : device_(Device::parse(o.device)), net_(cifar_resnet::architecture("resnet18"), device_, 1, o.base_channels) {
    Generator random(1);
    images_ = contiguous(randn({batch, 3, 32, 32}, random), MemoryFormat::channels_last).to(device_);
    if (o.amp) images_ = cast(images_, DType::bf16);
    std::vector<int64_t> classes;
    for (int64_t i = 0; i < batch; ++i) classes.push_back(i % 10);
    labels_ = Tensor::from(classes, {batch}).to(device_);
  }

  void step() {
    const Tensor loss = cross_entropy((*net_.model)(images_), labels_);
    sgd_.zero_grad();
    loss.backward();
    sgd_.step(0.01);
    synchronize(current_stream(device_));
  }
  // Multiply-accumulates of a step, per image: those of the forward pass, and as many for each of the two gradients,
  // even of the stem, whose input needs none.
  double macs() {
    const std::vector<int64_t> forward = quant::macs(net_.graph());
    return 3 * double(std::accumulate(forward.begin(), forward.end(), int64_t{0}));
  }

 private:
  Device device_;
  cifar_resnet::Fp32Network net_;
  optim::Sgd sgd_{net_.params.trainable(), {.momentum = 0.9, .weight_decay = 5e-4}};
  Tensor images_, labels_;
};

void bench_row(int64_t batch, int threads, const Options& o, json& rows) {
  set_num_threads(threads);
  Training training(batch, o);
  const auto measure_peak = [&, d = Device::parse(o.device)] {
    return peak_float_gflops(d, o.amp ? DType::bf16 : DType::f32);
  };
  const double before = measure_peak();
  const Timing t = interleave({[&] { training.step(); }}, o.seconds)[0];
  const double peak = std::max(before, measure_peak());
  const double images_per_s = double(batch) / t.median, rate = 2e-9 * training.macs() * images_per_s;
  std::printf("%6lld %8d %10.1f %10.1f %10.1f %10.1f %8.1f %7.1f%%\n", static_cast<long long>(batch), threads,
              t.median * 1e3, t.least * 1e3, t.p90 * 1e3, images_per_s, rate, 100 * rate / peak);
  std::fflush(stdout);
  rows.push_back({{"batch", batch},
                  {"threads", threads},
                  {"amp", o.amp},
                  {"device", o.device},
                  {"ms", t.median * 1e3},
                  {"ms_min", t.least * 1e3},
                  {"ms_p90", t.p90 * 1e3},
                  {"calls", t.calls},
                  {"images_per_s", images_per_s},
                  {"gflop_per_s", rate},
                  {"peak_gflop_per_s", peak},
                  {"share_of_peak", rate / peak}});
}

// For a script that lets other programs take turns with this one:
// time BATCH REPEATS   -> milliseconds of each step; the first request for a batch makes two more before them
std::string answer(const std::string& request, std::map<int64_t, Training>& trainings, const Options& o) {
  std::istringstream in(request);
  std::ostringstream out;
  std::string what;
  int64_t batch = 0, repeats = 0;
  if (!(in >> what >> batch >> repeats) || what != "time" || batch < 1 || batch > cifar_resnet::kMostBatch ||
      repeats < 1)
    throw ValueError("a request is: time BATCH REPEATS");
  const auto [at, fresh] = trainings.try_emplace(batch, batch, o);
  for (int i = 0; fresh && i < 2; ++i) at->second.step();
  for (int64_t i = 0; i < repeats; ++i) {
    const Stopwatch call;
    at->second.step();
    out << call.ms() << ' ';
  }
  return out.str();
}

void serve(const Options& o) {
  set_num_threads(o.threads[0]);
  std::map<int64_t, Training> trainings;
  serve_requests([&](const std::string& request) { return answer(request, trainings, o); });
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("Times a training step of ResNet-18 for 32x32 images.");
  using cifar_resnet::add_list, cifar_resnet::whole;
  add_list(app, "--batch", o.batches, "batch sizes", whole(1, cifar_resnet::kMostBatch));
  add_list(app, "--threads", o.threads, "numbers of threads", whole(1, cifar_resnet::kMostThreads));
  app.add_option("--seconds", o.seconds, "per batch size and number of threads")
      ->check(cifar_resnet::between(1e-9, 1e6))
      ->capture_default_str();
  app.add_option("--channels", o.base_channels, "of the first stage")
      ->check(cifar_resnet::whole(1, 1024))
      ->capture_default_str();
  app.add_option("--device", o.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_flag("--amp", o.amp, "mixed precision: activations and their gradients are bf16, all else fp32");
  app.add_option("--json", o.json_path, "also write the rows to this file")->check(cifar_resnet::path());
  app.add_flag("--serve", o.serve, "answer requests from standard input, on the first number of threads")
      ->excludes("--json");
  if (const auto status = cifar_resnet::parse(app, "bench_train_step", argc, argv)) return *status;
  if (!o.json_path.empty()) require_writable(o.json_path);
  if (o.serve) {
    serve(o);
    return 0;
  }
  const Device d = Device::parse(o.device);
  json report = describe_machine(o.threads), rows = json::array();
  if (d.type == DeviceType::cuda) report["device_peaks"] = describe_device(d);
  std::printf("\n%6s %8s %10s %10s %10s %10s %8s %8s\n", "batch", "threads", "ms/step", "least", "p90", "images/s",
              "GFLOP/s", "peak");
  for (const int threads : o.threads)
    for (const int64_t batch : o.batches) bench_row(batch, threads, o, rows);
  report["rows"] = rows;
  if (!o.json_path.empty()) write_report(o.json_path, report);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program("bench_train_step", run, argc, argv); }
