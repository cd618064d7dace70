// cifar_resnet bench: latency, throughput and memory of the fp32 and the int8 network, taking turns in one process.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

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

constexpr double kSecondsPerRow = 2;

Tensor random_images(int64_t n) {
  Tensor images = Tensor::empty({n, 3, 32, 32}, DType::u8);
  Generator g(1);
  for (uint8_t& byte : images.mutable_data<uint8_t>()) byte = uint8_t(g.next_u32());
  return images;
}

}  // namespace

void bench(const BenchOptions& o) {
  apply(o);
  if (o.model.empty() && o.int8.empty()) throw ValueError("bench: name a network with --model, --int8 or both");
  require_distinct({{"--json", o.json}}, {{"--model", o.model}, {"--int8", o.int8}});
  if (!o.json.empty()) require_writable(o.json);
  const NoGradGuard no_grad;
  json out{{"machine", machine_name()}, {"backend", o.backend}, {"git", git_revision()}, {"rows", json::array()}};

  // From the file to the first answer: what a program that starts up waits for.
  nn::graph::Graph graph;
  std::optional<nn::graph::Program> fp32;
  std::optional<quant::Int8Net> int8;
  const auto start_up = [&](const char* name, auto load, auto first) {
    const Stopwatch loading;
    load();
    const double load_ms = loading.ms();
    const Stopwatch running;
    const Tensor logits = first();
    const double first_ms = running.ms();
    for (const float v : logits.data<float>())
      if (!std::isfinite(v)) throw ValueError(message("the ", name, " network gives logits that are not finite"));
    out["start_up"][name] = {{"load_ms", load_ms}, {"first_ms", first_ms}};
    std::printf("%s: loaded in %.1f ms, first image %.2f ms\n", name, load_ms, first_ms);
  };
  const Tensor one = random_images(1);
  if (!o.model.empty())
    start_up(
        "fp32",
        [&] {
          graph = Fp32Network::load(o.model)->graph();
          fp32.emplace(graph);
        },
        [&] { return (*fp32)(data::normalize(one)); });
  if (!o.int8.empty())
    start_up(
        "int8", [&] { int8 = quant::Int8Net::load(o.int8); }, [&] { return int8->forward(one); });

  std::printf("\n%-5s %6s %8s %14s %10s %10s %10s %12s\n", "net", "batch", "threads", "ms per image", "p50 ms",
              "p95 ms", "p99 ms", "images/s");
  for (const int threads : o.bench_threads) {
    set_num_threads(threads);
    if (int8) int8->repack();
    for (const int64_t batch : o.batch) {
      const Tensor images = random_images(batch), normalized = data::normalize(images);
      std::vector<const char*> names;
      std::vector<std::function<void()>> nets;
      if (fp32) {
        fp32.emplace(graph, batch);
        names.push_back("fp32");
        nets.push_back([&] { (*fp32)(normalized); });
      }
      if (int8) {
        names.push_back("int8");
        nets.push_back([&] { int8->forward(images); });
      }
      const auto timings = time_interleaved(nets, kSecondsPerRow);
      for (size_t i = 0; i < nets.size(); ++i) {
        const Timing& t = timings[i];
        const double per_image = t.median() / double(batch);
        std::printf("%-5s %6lld %8d %14.4f %10.3f %10.3f %10.3f %12.0f\n", names[i], (long long)batch, threads,
                    per_image, t.median(), t.quantile(0.95), t.quantile(0.99), 1000 / per_image);
        out["rows"].push_back({{"net", names[i]},
                               {"batch", batch},
                               {"threads", threads},
                               {"ms_per_image", per_image},
                               {"p50", t.median()},
                               {"p95", t.quantile(0.95)},
                               {"p99", t.quantile(0.99)},
                               {"peak_rss_mib", peak_rss_mib()}});
      }
      if (nets.size() == 2)
        std::printf("      int8 is %.2f times as fast\n", timings[0].median() / timings[1].median());
      std::fflush(stdout);
    }
  }
  if (!o.json.empty()) write_json(o.json, out);
}

}  // namespace cifar_resnet
