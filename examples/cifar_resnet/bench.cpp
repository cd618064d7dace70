// cifar_resnet bench: latency, throughput and memory of the fp32 and the int8 network, taking turns in one process.
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/stopwatch.h"
#include "data/augment.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/outputs.h"
#include "examples/cifar_resnet/results.h"
#include "examples/cifar_resnet/timing.h"
#include "nn/graph/program.h"
#include "quant/int8_net.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

Tensor random_images(int64_t n) {
  Tensor images = Tensor::empty({n, 3, 32, 32}, DType::u8);
  Generator g(1);
  for (uint8_t& byte : images.mutable_data<uint8_t>()) byte = uint8_t(g.next_u32());
  return images;
}

// The numbers of weights of convolutions and linear layers.
std::map<std::string, int64_t> layer_sizes(const nn::graph::Graph& g) {
  std::map<std::string, int64_t> sizes;
  for (const nn::graph::Node& n : g.nodes)
    if (n.inputs.size() > 1 && g.is_constant(n.inputs[1]))
      if (const Shape& w = g.values[size_t(n.inputs[1])].shape; w.rank() > 1) sizes[n.name] = numel(w);
  return sizes;
}

// What tells two networks apart, in words; empty if they have the same layers.
std::string difference(const nn::graph::Graph& fp32, const nn::graph::Graph& int8) {
  auto mine = layer_sizes(fp32), other = layer_sizes(int8);
  for (const auto& [name, size] : mine)
    if (const auto o = other.find(name); o == other.end())
      return message("the int8 one has no layer ", name);
    else if (o->second != size)
      return message("layer ", name, " has ", size, " weights in fp32 and ", o->second, " in int8");
  for (const auto& [name, size] : other)
    if (!mine.contains(name)) return message("the fp32 one has no layer ", name);
  return {};
}

class Bench {
 public:
  explicit Bench(const BenchOptions& o) : o_(o) {}

  json run() {
    set_num_threads(o_.bench_threads.front());
    start_up();
    const std::string differ = fp32_ && int8_ ? difference(graph_, int8_->model().graph) : "";
    same_network_ = differ.empty();
    if (!same_network_)
      std::printf("--model and --int8 are different networks, so their times do not compare: %s\n", differ.c_str());
    std::printf("\n%-4s %6s %8s %10s %9s %9s %9s %9s %9s%s\n", "net", "batch", "threads", "ms/image", "p50 ms",
                "p95 ms", "p99 ms", "images/s", "peak MiB", energy_.joules() ? "  mJ/image" : "");
    json rows = json::array();
    for (const int threads : o_.bench_threads) {
      set_num_threads(threads);
      if (int8_) int8_->repack();
      for (const int64_t batch : o_.batch)
        for (json& row : measure(threads, batch)) rows.push_back(std::move(row));
    }
    return {{"machine", machine_name()},     {"backend", o_.backend}, {"git", git_revision()},
            {"same_network", same_network_}, {"start_up", start_up_}, {"rows", rows}};
  }

 private:
  // From the file to the first answer: what a program that starts waits for.
  void start_up() {
    const Tensor image = random_images(1), normalized = data::normalize(image);
    const auto time = [&](const char* name, auto load, const std::function<Tensor()>& call) {
      const Stopwatch loading;
      load();
      const double load_ms = loading.ms();
      const Stopwatch first;
      const Tensor logits = call();
      const double first_ms = first.ms();
      for (const float v : logits.data<float>())
        if (!std::isfinite(v)) throw ValueError(message("the ", name, " network gives logits that are not finite"));
      const std::function<void()> again[] = {[&] { call(); }};
      const double warm_ms = time_interleaved(again, o_.seconds / 10)[0].median();
      start_up_[name] = {
          {"load_ms", load_ms}, {"first_ms", first_ms}, {"warm_ms", warm_ms}, {"threads", num_threads()}};
      std::printf("%s: loaded in %.1f ms, first image %.3f ms, warm %.3f ms\n", name, load_ms, first_ms, warm_ms);
    };
    if (!o_.model.empty())
      time(
          "fp32",
          [&] {
            graph_ = Fp32Network::load(o_.model)->graph();
            fp32_.emplace(graph_);
          },
          [&] { return (*fp32_)(normalized); });
    if (!o_.int8.empty())
      time(
          "int8", [&] { int8_ = quant::Int8Net::load(o_.int8); }, [&] { return int8_->forward(image); });
  }

  // The networks take turns, each on a batch.
  std::vector<json> measure(int threads, int64_t batch) {
    const Tensor images = random_images(batch), normalized = data::normalize(images);
    std::vector<const char*> names;
    std::vector<std::function<void()>> nets;
    if (fp32_) {
      fp32_.emplace(graph_, batch);
      names.push_back("fp32");
      nets.push_back([&] { (*fp32_)(normalized); });
    }
    if (int8_) {
      names.push_back("int8");
      nets.push_back([&] { int8_->forward(images); });
    }
    const auto timings = time_interleaved(nets, o_.seconds);
    std::vector<json> rows;
    for (size_t i = 0; i < nets.size(); ++i) {
      const Timing& t = timings[i];
      const double p50 = t.median(), p95 = t.quantile(0.95), p99 = t.quantile(0.99), per_image = p50 / double(batch);
      std::printf("%-4s %6lld %8d %10.4f %9.3f %9.3f %9.3f %9.0f %9.1f", names[i], (long long)batch, threads, per_image,
                  p50, p95, p99, 1000 / per_image, peak_rss_mib());
      rows.push_back({{"net", names[i]},
                      {"batch", batch},
                      {"threads", threads},
                      {"ms_per_image", per_image},
                      {"p50", p50},
                      {"p95", p95},
                      {"p99", p99},
                      {"calls", t.ms.size()},
                      {"images_per_s", 1000 / per_image},
                      {"peak_rss_mib", peak_rss_mib()}});
      if (const auto mj = millijoules_per_image(nets[i], batch)) {
        std::printf("  %8.3f", *mj);
        rows.back()["mj_per_image"] = *mj;
      }
      std::printf("\n");
    }
    if (nets.size() == 2 && same_network_)
      std::printf("     int8 is %.2f times as fast\n", timings[0].median() / timings[1].median());
    std::fflush(stdout);
    return rows;
  }

  // Of one network alone: turns are too short for the counters.
  std::optional<double> millijoules_per_image(const std::function<void()>& net, int64_t batch) {
    if (!energy_.joules()) return {};
    const Stopwatch watch;
    int64_t images = 0;
    for (; images == 0 || watch.seconds() < o_.seconds / 2; images += batch) net();
    const auto joules = energy_.joules();
    return joules ? std::optional(1000 * *joules / double(images)) : std::nullopt;
  }

  const BenchOptions& o_;
  nn::graph::Graph graph_;
  std::optional<nn::graph::Program> fp32_;
  std::optional<quant::Int8Net> int8_;
  bool same_network_ = true;
  EnergyMeter energy_;
  json start_up_;
};

}  // namespace

void bench(const BenchOptions& o) {
  require_cpu(o, "bench");
  apply(o);
  if (o.model.empty() && o.int8.empty()) throw ValueError("bench: name a network with --model, --int8 or both");
  require_distinct({{"--json", o.json}}, {{"--model", o.model}, {"--int8", o.int8}});
  if (!o.json.empty()) require_writable(o.json);
  const NoGradGuard no_grad;
  const json results = Bench(o).run();
  if (!o.json.empty()) write_json(o.json, results);
}

}  // namespace cifar_resnet
