// Times a whole network, int8 and fp32 taking turns, beside the machine's peaks, after checking its results.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
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
#include "core/autograd.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "data/augment.h"
#include "data/synthetic.h"
#include "examples/cifar_resnet/command_line.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/outputs.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "quant/calibrator.h"
#include "quant/int8_net.h"

using namespace mininn;
using namespace mininn::bench;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kCalibrationImages = 64;

struct Options {
  fs::path int8, model;
  std::vector<int64_t> batches{1, 8, 32, 128};
  std::vector<int> threads{1, 2};
  double seconds = 2;
  std::string json_path;
  bool serve = false;
};

// A network as it is timed. What `prepare` does to raw u8 images [N,3,H,W] is not: fp32 starts from normalised ones,
// int8 from the bytes themselves.
struct Net {
  std::string name;
  int64_t macs = 0;  // per image
  Shape image;       // of one image, [1,C,H,W]
  double tolerance;  // of its logits, relative to the largest, between batch sizes and numbers of threads
  double (*peak)();  // billions of multiply-accumulates per second
  std::function<Tensor(const Tensor&)> prepare, forward;
  std::function<void()> repack;  // after the number of threads has changed
};

double peak_fma_gmacs() { return peak_fma_gflops() / 2; }

Net load_fp32(const fs::path& file) {
  const auto graph = std::make_shared<const nn::graph::Graph>(cifar_resnet::Fp32Network::load(file)->graph());
  const std::vector<int64_t> macs = quant::macs(*graph);
  // Compiled for each batch size at its first call.
  const auto compiled = std::make_shared<std::map<int64_t, nn::graph::Program>>();
  return {"fp32",
          std::accumulate(macs.begin(), macs.end(), int64_t{0}),
          {1, 3, 32, 32},
          1e-4,
          peak_fma_gmacs,
          [](const Tensor& x) { return data::normalize(x); },
          [graph, compiled](const Tensor& x) {
            return compiled->try_emplace(x.size(0), *graph, x.size(0)).first->second(x);
          },
          [compiled] { compiled->clear(); }};
}

Net load_int8(const fs::path& file) {
  const auto net = std::make_shared<quant::Int8Net>(quant::Int8Net::load(file));
  Shape input = net->model().input().shape;
  input[0] = 1;
  if (!net->model().normalization) throw ValueError(file.string() + ": this network does not take image bytes");
  return {"int8",
          net->report().int8_macs(),
          input,
          0,
          peak_dot_gmacs,
          [](const Tensor& x) { return x; },
          [net](const Tensor& x) { return net->forward(x); },
          [net] { net->repack(); }};
}

// A folder that is gone at the end of the run.
struct TemporaryFolder {
  fs::path path;
  TemporaryFolder() {
    std::error_code error;  // then the path is empty, and mkdtemp() says so
    std::string name = (fs::temp_directory_path(error) / "bench_net_XXXXXX").string();
    if (!::mkdtemp(name.data())) throw FileError(name + ": cannot be made");
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
};

// Random weights, the same on every machine.
void write_random_network(const fs::path& file) {
  nn::save_safetensors(file,
                       cifar_resnet::Fp32Network(cifar_resnet::architecture("resnet18"), Device::cpu(), 1).params);
}

// The int8 form of an fp32 file, calibrated with synthetic images.
void write_int8_network(const fs::path& fp32, const fs::path& file) {
  const auto net = cifar_resnet::Fp32Network::load(fp32);
  quant::Calibrator calibrator(nn::trace(*net->model, Tensor::zeros({1, 3, 32, 32})),
                               {.input = data::kCifar10Normalization});
  calibrator.observe(data::synthetic(kCalibrationImages, data::Split::train).images);
  calibrator.compile().save(file);
}

Tensor random_images(const Shape& image, int64_t n) {
  Shape shape = image;
  shape[0] = n;
  Tensor images = Tensor::empty(shape, DType::u8);
  Generator g(1);
  for (uint8_t& byte : images.mutable_data<uint8_t>()) byte = uint8_t(g.next_u32());
  return images;
}

Tensor first_images(const Tensor& images, int64_t begin, int64_t n) {
  Shape shape = images.shape();
  shape[0] = n;
  return images.as_strided(shape, images.strides(), begin * images.strides()[0]);
}

void use_threads(const std::vector<Net>& nets, int threads) {
  set_num_threads(threads);
  for (const Net& net : nets) net.repack();
}

// --- is it right? ---------------------------------------------------------------------------------------------------

// The logits of every image alone, on one thread: what all other runs must give, too.
std::vector<float> reference_logits(const Net& net, const Tensor& images) {
  std::vector<float> all;
  for (int64_t i = 0; i < images.size(0); ++i) {
    const Tensor y = net.forward(net.prepare(first_images(images, i, 1)));
    const auto row = y.data<float>();
    all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

// Largest difference from the first images' reference logits, relative to the largest of them.
double error_of(std::span<const float> got, std::span<const float> want) {
  if (want.size() < got.size()) return INFINITY;
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(double(got[i]) - double(want[i]));
    if (!(d <= difference)) difference = d;  // NaN is a difference
    size = std::max(size, std::abs(double(want[i])));
  }
  return size > 0 ? difference / size : difference;
}

// --- the measurement ------------------------------------------------------------------------------------------------

// From the file to the first answer, then to what every later one takes: what a program that starts up waits for.
template <class Load>
Net start_up(const Load& load, const fs::path& file, double seconds, json& out) {
  const Stopwatch loading;
  Net net = load(file);
  const double load_ms = loading.ms();
  const Tensor x = net.prepare(random_images(net.image, 1));
  const Stopwatch running;
  net.forward(x);
  const double first_ms = running.ms();
  const double steady_ms = interleave({[&] { net.forward(x); }}, seconds)[0].median * 1e3;
  std::printf("%s: load %.1f ms, first image %.2f ms, then %.2f ms (%d thread%s)\n", net.name.c_str(), load_ms,
              first_ms, steady_ms, num_threads(), num_threads() == 1 ? "" : "s");
  out[net.name] = {{"threads", num_threads()}, {"load_ms", load_ms}, {"first_ms", first_ms}, {"steady_ms", steady_ms}};
  return net;
}

bool bench_batch(const std::vector<Net>& nets, const std::vector<std::vector<float>>& reference, const Tensor& images,
                 int threads, double seconds, json& rows) {
  const int64_t batch = images.size(0);
  bool right = true;
  std::vector<Tensor> inputs;
  std::vector<double> peaks;
  std::vector<std::function<void()>> runs;
  for (size_t i = 0; i < nets.size(); ++i) {
    const Net& net = nets[i];
    inputs.push_back(net.prepare(images));
    const Tensor logits = net.forward(inputs.back());
    const double error = error_of(logits.data<float>(), reference[i]);
    if (!(error <= net.tolerance)) {
      std::printf(
          "WRONG RESULT: %s, batch %lld on %d threads differs from single images on one by %.1e (allowed: %.1e)\n",
          net.name.c_str(), static_cast<long long>(batch), threads, error, net.tolerance);
      right = false;
    }
    peaks.push_back(net.peak());
    runs.push_back([&net, x = inputs.back()] { net.forward(x); });
  }
  constexpr double kTurn = 0.1;  // seconds: a program runs one of the networks, whose weights then stay in the caches
  const std::vector<Timing> timings = interleave(runs, seconds, kTurn);
  for (size_t i = 0; i < nets.size(); ++i) {
    const Net& net = nets[i];
    const Timing& t = timings[i];
    const double peak = std::max(peaks[i], net.peak()), images_per_s = double(batch) / t.median,
                 rate = images_per_s * double(net.macs) / 1e9, ms = 1e3 / double(batch);
    std::printf("%-5s %6lld %8d %10.4f %10.4f %10.4f %10.0f %8.1f", net.name.c_str(), static_cast<long long>(batch),
                threads, t.median * ms, t.least * ms, t.p90 * ms, images_per_s, rate);
    if (peak > 0)
      std::printf(" %7.1f%%\n", 100 * rate / peak);
    else
      std::printf(" %8s\n", "-");
    rows.push_back({{"net", net.name},
                    {"batch", batch},
                    {"threads", threads},
                    {"ms_per_image", t.median * ms},
                    {"ms_per_image_min", t.least * ms},
                    {"ms_per_image_p90", t.p90 * ms},
                    {"calls", t.calls},
                    {"images_per_s", images_per_s},
                    {"gmac_per_s", rate},
                    {"peak_gmac_per_s", peak},
                    {"share_of_peak", peak > 0 ? json(rate / peak) : json()}});
  }
  std::fflush(stdout);
  return right;
}

bool bench_table(const std::vector<Net>& nets, const Options& o, json& rows) {
  const int64_t largest = *std::max_element(o.batches.begin(), o.batches.end());
  const Tensor images = random_images(nets[0].image, largest);
  use_threads(nets, 1);
  std::vector<std::vector<float>> reference;
  for (const Net& net : nets) reference.push_back(reference_logits(net, images));

  std::printf("\n%-5s %6s %8s %10s %10s %10s %10s %8s %8s\n", "net", "batch", "threads", "ms/image", "least", "p90",
              "images/s", "GMAC/s", "peak");
  bool right = true;
  for (const int threads : o.threads) {
    use_threads(nets, threads);
    for (const int64_t batch : o.batches)
      right &= bench_batch(nets, reference, first_images(images, 0, batch), threads, o.seconds, rows);
  }
  return right;
}

// --- for a script that lets other programs take turns with this one -------------------------------------------------

const Net& find(const std::vector<Net>& nets, const std::string& name) {
  for (const Net& net : nets)
    if (net.name == name) return net;
  throw ValueError("no network is called '" + name + "'");
}

// time NET BATCH REPEATS   -> milliseconds of each call; one more call before them is not counted
// logits NET FILE          -> the logits of the raw u8 images [N,C,H,W] in FILE
std::string answer(const std::vector<Net>& nets, const std::string& request) {
  std::istringstream in(request);
  std::ostringstream out;
  std::string what, name, path;
  int64_t batch = 0, repeats = 0;
  in >> what >> name;
  if (what == "time" && in >> batch >> repeats && batch > 0 && batch <= cifar_resnet::kMostBatch && repeats > 0) {
    const Net& net = find(nets, name);
    const Tensor x = net.prepare(random_images(net.image, batch));
    net.forward(x);
    for (int64_t i = 0; i < repeats; ++i) {
      const Stopwatch call;
      net.forward(x);
      out << call.ms() << ' ';
    }
  } else if (what == "logits" && std::getline(in >> std::ws, path)) {
    const Net& net = find(nets, name);
    const std::string bytes = read_all(open_regular_file(path).get());
    const size_t size = size_t(numel(net.image));
    if (bytes.empty() || bytes.size() % size != 0) throw FileError(path + ": holds no raw images");
    Shape shape = net.image;
    shape[0] = int64_t(bytes.size() / size);
    Tensor images = Tensor::empty(shape, DType::u8);
    std::memcpy(images.mutable_data<uint8_t>().data(), bytes.data(), bytes.size());
    out.precision(9);
    for (const float v : net.forward(net.prepare(images)).data<float>()) out << v << ' ';
  } else {
    throw ValueError("a request is: time NET BATCH REPEATS, or logits NET FILE");
  }
  return out.str();
}

void serve(const std::vector<Net>& nets, int threads) {
  use_threads(nets, threads);
  serve_requests([&](const std::string& request) { return answer(nets, request); });
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("Times a whole network, int8 and fp32. Without files: ResNet-18 for 32x32 images with random weights.");
  app.add_option("--int8", o.int8, "an int8 file [made from the fp32 network]")->check(cifar_resnet::path());
  app.add_option("--model", o.model, "an fp32 file of examples/cifar_resnet [random weights; none beside --int8]")
      ->check(cifar_resnet::path());
  using cifar_resnet::add_list, cifar_resnet::whole;
  add_list(app, "--batch", o.batches, "batch sizes", whole(1, cifar_resnet::kMostBatch));
  add_list(app, "--threads", o.threads, "numbers of threads", whole(1, cifar_resnet::kMostThreads));
  app.add_option("--seconds", o.seconds, "per network, batch size and number of threads")
      ->check(cifar_resnet::between(1e-9, 1e6))
      ->capture_default_str();
  app.add_option("--json", o.json_path, "also write the rows to this file")->check(cifar_resnet::path());
  app.add_flag("--serve", o.serve, "answer requests from standard input, on the first number of threads")
      ->excludes("--json");
  if (const auto status = cifar_resnet::parse(app, "bench_net", argc, argv)) return *status;
  cifar_resnet::require_distinct({{"--json", o.json_path}}, {{"--model", o.model}, {"--int8", o.int8}});
  if (!o.json_path.empty()) require_writable(o.json_path);

  const NoGradGuard no_grad;
  const TemporaryFolder folder;
  if (o.model.empty() && o.int8.empty()) {
    o.model = folder.path / "fp32.safetensors";
    write_random_network(o.model);
  }
  if (o.int8.empty()) {
    o.int8 = folder.path / "int8.safetensors";
    write_int8_network(o.model, o.int8);
  }
  std::vector<Net> nets;
  if (o.serve) {
    if (!o.model.empty()) nets.push_back(load_fp32(o.model));
    nets.push_back(load_int8(o.int8));
    serve(nets, o.threads[0]);
    return 0;
  }

  json report = describe_machine(o.threads), rows = json::array();
  if (!o.model.empty()) nets.push_back(start_up(load_fp32, o.model, o.seconds, report["start_up"]));
  nets.push_back(start_up(load_int8, o.int8, o.seconds, report["start_up"]));
  if (nets[0].image != nets.back().image)
    throw ValueError(message("the int8 network takes images ", nets.back().image, ", the fp32 one ", nets[0].image));
  const bool right = bench_table(nets, o, rows);
  report["rows"] = rows;
  if (!o.json_path.empty()) write_report(o.json_path, report);
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return run_program("bench_net", run, argc, argv); }
