// cifar_resnet ptq: post-training quantization of a trained network, and an honest account of what it cost.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/autograd.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "data/augment.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/outputs.h"
#include "examples/cifar_resnet/quantization_details.h"
#include "examples/cifar_resnet/report.h"
#include "examples/cifar_resnet/results.h"
#include "examples/cifar_resnet/timing.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "quant/calibrator.h"
#include "quant/int8_file.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr int64_t kBatch = 100;
constexpr double kSecondsPerTiming = 1.5;

// Two-sided exact McNemar test: the probability of so uneven a split of the images that only one of two classifiers got
// right, if both were equally good (McNemar 1947; binomial form).
double mcnemar_p(int64_t only_a, int64_t only_b) {
  const int64_t n = only_a + only_b, least = std::min(only_a, only_b);
  double p = 0;
  for (int64_t i = 0; i <= least; ++i)
    p += std::exp(std::lgamma(double(n + 1)) - std::lgamma(double(i + 1)) - std::lgamma(double(n - i + 1)) -
                  double(n) * std::log(2.0));
  return std::min(1.0, 2 * p);
}

// How two networks differ on one test set.
struct Comparison {
  int64_t changed = 0, only_fp32 = 0, only_int8 = 0;  // labels that differ; images that only one gets right
};

Comparison compare(const Evaluation& fp32, const Evaluation& int8, const data::Dataset& test) {
  Comparison c;
  const auto labels = test.labels.data<int64_t>();
  for (size_t i = 0; i < labels.size(); ++i) {
    const bool a = fp32.predicted[i] == labels[i], b = int8.predicted[i] == labels[i];
    c.changed += fp32.predicted[i] != int8.predicted[i];
    c.only_fp32 += a && !b;
    c.only_int8 += b && !a;
  }
  return c;
}

struct Latency {
  int64_t batch = 0;
  int threads = 0;
  double fp32_ms = 0, int8_ms = 0;  // medians per image
};

std::vector<Latency> measure_latency(const nn::graph::Graph& graph, quant::Int8Net int8, const data::Dataset& test) {
  const int threads_before = num_threads();
  std::vector<int> thread_counts{1};
  if (threads_before > 1) thread_counts.push_back(threads_before);
  std::vector<Latency> rows;
  for (const int threads : thread_counts) {
    set_num_threads(threads);
    int8.repack();
    for (const int64_t batch : {int64_t{1}, std::min<int64_t>(32, test.size())}) {
      const Tensor images = image_range(test, 0, batch), normalized = data::normalize(images);
      const nn::graph::Program fp32(graph, batch);
      const std::function<void()> nets[] = {[&] { fp32(normalized); }, [&] { int8.forward(images); }};
      const auto t = time_interleaved(nets, kSecondsPerTiming);
      rows.push_back({batch, threads, t[0].median() / double(batch), t[1].median() / double(batch)});
    }
  }
  set_num_threads(threads_before);
  return rows;
}

// counts[truth * classes + prediction]
std::vector<int64_t> confusion(const Evaluation& e, const data::Dataset& test) {
  const size_t n = test.classes.size();
  std::vector<int64_t> counts(n * n);
  const auto labels = test.labels.data<int64_t>();
  for (size_t i = 0; i < labels.size(); ++i) ++counts[size_t(labels[i]) * n + size_t(e.predicted[i])];
  return counts;
}

// What the int8 file's bytes are. The parts add up to the file, or this throws.
void print_size_table(const Path& file) {
  std::map<std::string, int64_t> parts;
  int64_t sum = 0;
  for (const auto& item : quant::int8_file_items(file)) {
    parts[item.name.substr(item.name.rfind('.') + 1)] += item.bytes;
    sum += item.bytes;
  }
  const auto size = int64_t(std::filesystem::file_size(file));
  if (sum != size)
    throw FileError(message(file.string(), ": the parts add up to ", sum, " bytes, the file has ", size));
  for (const auto& [part, bytes] : parts) std::printf("%-14s %10lld bytes\n", part.c_str(), (long long)bytes);
  std::printf("%-14s %10lld bytes = %.2f MiB\n\n", "int8 file", (long long)size, double(size) / 1048576);
}

// The report's layers that compute something.
json layers_json(const quant::Report& report) {
  json layers = json::array();
  const auto times = [](const std::vector<Trial>& trials) {
    json out = json::object();
    for (const auto& t : trials) out[t.kernel] = t.ms;
    return out;
  };
  const auto number = [](double v) { return std::isfinite(v) ? json(v) : json(); };
  for (const auto& l : report.layers) {
    if (l.kernel.empty()) continue;  // a view
    json measured = json::object();  // by batch size
    for (size_t i = 0; i < l.trials.size(); ++i) measured[std::to_string(report.batches[i])] = times(l.trials[i]);
    layers.push_back({{"name", l.name},
                      {"op", l.op},
                      {"kernel", l.kernel},
                      {"measured_ms", measured},
                      {"fp32_bytes", l.fp32_bytes},
                      {"int8_bytes", l.int8_bytes()},
                      {"weight_bytes", l.weight_bytes},
                      {"scale_bytes", l.scale_bytes},
                      {"bias_bytes", l.bias_bytes},
                      {"in_float", l.in_float},
                      {"scale", l.real ? json() : json(l.q.scale)},
                      {"zero_point", l.real ? json() : json(l.q.zero_point)},
                      {"macs", l.macs},
                      {"sqnr_db", number(l.sqnr_total)},
                      {"sqnr_local_db", number(l.sqnr_local)},
                      {"ms", number(l.ms)}});
  }
  return layers;
}

// Throws ValueError where two of the files would be one.
void require_distinct_files(const PtqOptions& o, const std::string& int8_file) {
  std::vector<NamedFile> read = data_files(o), written = report_files(o.out);
  read.push_back({"--model", o.model});
  written.push_back(file_of_out(o.out, int8_file));
  require_distinct(written, read);
}

// Throws FileError if what is to be written could not be written now: before long work, not after it.
void require_outputs(const Path& out, const std::string& int8_file) {
  require_writable(out / int8_file);
  open_if_there(out / int8_file);  // what is written is read again to be measured
  require_writable(out / kSummaryFile);
  require_report(out, {kBenchmarksFile, kDetailsFile});
}

struct CalibrationSet {
  std::vector<int64_t> indices;  // of training images
  std::string sha256;            // of the indices
};

CalibrationSet calibration_set(const data::Dataset& train, const PtqOptions& o) {
  try {
    CalibrationSet set{data::class_balanced_indices(train, o.calib, o.seed), {}};
    set.sha256 = Sha256().update(std::span<const int64_t>(set.indices)).hex();
    return set;
  } catch (const ValueError& e) {
    throw ValueError(message("--calib ", o.calib, ": ", e.what()));
  }
}

// What was measured of the two networks.
struct Outcome {
  Evaluation fp32, int8;
  Comparison difference = {};
  std::vector<Latency> latency = {};
  quant::Report report = {};
  int64_t fp32_bytes, int8_bytes;  // of the files

  double drop() const { return 100 * (fp32.accuracy - int8.accuracy); }  // points
  double agreement() const { return 1 - double(difference.changed) / double(fp32.images); }
  double mcnemar() const { return mcnemar_p(difference.only_fp32, difference.only_int8); }
  double size_ratio() const { return double(fp32_bytes) / double(int8_bytes); }
};

// `calibrated` is the report of the calibration: errors are known where its data is.
Outcome measure(const PtqOptions& o, Fp32Network& fp32_net, const Path& int8_file, const quant::Int8Net& int8,
                const quant::Report& calibrated, const data::Dataset& test) {
  Outcome out{.fp32 = evaluate(fp32_net.classifier(), test, kBatch, "fp32"),
              .int8 = evaluate([&](const Tensor& x) { return int8.forward(x); }, test, kBatch, "int8"),
              .fp32_bytes = int64_t(std::filesystem::file_size(o.model)),
              .int8_bytes = int64_t(std::filesystem::file_size(int8_file))};
  out.difference = compare(out.fp32, out.int8, test);
  out.latency = measure_latency(fp32_net.graph(), int8, test);
  out.report = int8.profile(image_range(test, 0, 1));
  for (size_t i = 0; i < out.report.layers.size(); ++i) {
    out.report.layers[i].sqnr_local = calibrated.layers[i].sqnr_local;
    out.report.layers[i].sqnr_total = calibrated.layers[i].sqnr_total;
  }
  return out;
}

void print(const Outcome& m, const Path& int8_file) {
  std::cout << '\n' << m.report << '\n';
  print_size_table(int8_file);
  std::printf("accuracy  fp32 %.2f%%   int8 %.2f%%   drop %.2f points (McNemar p = %.3f)\n", 100 * m.fp32.accuracy,
              100 * m.int8.accuracy, m.drop(), m.mcnemar());
  std::printf("agreement %.2f%% (%lld of %lld labels changed)\n", 100 * m.agreement(), (long long)m.difference.changed,
              (long long)m.fp32.images);
  std::printf("size      fp32 %.2f MiB   int8 %.2f MiB   %.2f times smaller\n", double(m.fp32_bytes) / 1048576,
              double(m.int8_bytes) / 1048576, m.size_ratio());
  for (const Latency& l : m.latency)
    std::printf("latency   batch %2lld, %d thread%s   fp32 %.3f ms   int8 %.3f ms per image   %.2f times as fast\n",
                (long long)l.batch, l.threads, l.threads == 1 ? " " : "s", l.fp32_ms, l.int8_ms, l.fp32_ms / l.int8_ms);
}

json summary_json(const Outcome& m, const PtqOptions& o, const CalibrationSet& calibration) {
  json latency, speedup;
  for (const Latency& l : m.latency) {
    const std::string batch = std::to_string(l.batch), threads = std::to_string(l.threads);
    latency["fp32"][batch][threads] = l.fp32_ms;
    latency["int8"][batch][threads] = l.int8_ms;
    speedup[batch][threads] = l.fp32_ms / l.int8_ms;
  }
  return {{"fp32_accuracy", m.fp32.accuracy},
          {"int8_accuracy", m.int8.accuracy},
          {"fp32_loss", m.fp32.loss},
          {"int8_loss", m.int8.loss},
          {"accuracy_drop", m.drop()},
          {"agreement", m.agreement()},
          {"changed_labels", m.difference.changed},
          {"mcnemar_p", m.mcnemar()},
          {"test_images", m.fp32.images},
          {"calibration",
           {{"images", o.calib}, {"seed", o.seed}, {"indices_sha256", calibration.sha256}, {"observer", o.observer}}},
          {"equalize", o.equalize},
          {"bias_correction", o.bias_correction},
          {"fp32_file_bytes", m.fp32_bytes},
          {"int8_file_bytes", m.int8_bytes},
          {"size_ratio", m.size_ratio()},
          {"latency_ms", latency},
          {"speedup", speedup},
          {"peak_rss_mib", peak_rss_mib()},
          {"int8_mac_coverage", m.report.int8_mac_coverage()},
          {"int8_logits_sha256", m.int8.logits_sha256},
          {"layers", layers_json(m.report)}};
}

json benchmarks_json(const Outcome& m, const PtqOptions& o, const data::Dataset& test) {
  json rows = json::array();
  for (const Latency& l : m.latency)
    for (const auto& [net, ms] : {std::pair{"fp32", l.fp32_ms}, std::pair{"int8", l.int8_ms}})
      rows.push_back({{"net", net}, {"batch", l.batch}, {"threads", l.threads}, {"ms_per_image", ms}});
  const json confusion_counts{
      {"classes", test.classes}, {"fp32", confusion(m.fp32, test)}, {"int8", confusion(m.int8, test)}};
  return {{"machine", machine_name()},
          {"backend", o.backend},
          {"rows", rows},
          {"layers", layers_json(m.report)},
          {"confusion", confusion_counts}};
}

}  // namespace

void ptq(const PtqOptions& o) {
  require_cpu(o, "ptq");
  apply(o);
  const quant::ObserverOptions observer = quant::parse_observer(o.observer);
  const auto fp32_net = Fp32Network::load(o.model);
  const std::string int8_name = message(fp32_net->architecture->name, "_int8.safetensors");
  require_distinct_files(o, int8_name);
  const data::Dataset train = open_data(o, data::Split::train, 0), test = open_data(o, data::Split::test, o.limit_test);
  const FolderLock folder(o.out);
  require_same_network(o.out, fp32_net->architecture->title);
  require_outputs(o.out, int8_name);
  const Path int8_file = o.out / int8_name;
  const NoGradGuard no_grad;

  const CalibrationSet calibration = calibration_set(train, o);
  std::printf("calibrating with %lld training images (seed %llu, index SHA-256 %s)\n", (long long)o.calib,
              (unsigned long long)o.seed, calibration.sha256.c_str());
  fp32_net->params.train(false);
  quant::Calibrator calibrator(nn::trace(*fp32_net->model, Tensor::zeros({1, 3, 32, 32})),
                               {.activations = observer,
                                .per_channel = !o.per_tensor,
                                .equalize = o.equalize,
                                .bias_correction = o.bias_correction,
                                .input = data::kCifar10Normalization,
                                .notes = {{"data", train.source},
                                          {"images", std::to_string(o.calib)},
                                          {"seed", std::to_string(o.seed)},
                                          {"indices_sha256", calibration.sha256},
                                          {"classes", std::to_string(test.classes.size())}}});
  calibrator.observe(train.subset(calibration.indices).images);
  const quant::Int8Net compiled = calibrator.compile();
  compiled.save(int8_file);

  // From here on the file's network is what is measured, not the one in memory.
  const quant::Int8Net int8 = quant::Int8Net::load(int8_file);
  const Outcome outcome = measure(o, *fp32_net, int8_file, int8, compiled.report(), test);
  print(outcome, int8_file);
  json summary = summary_json(outcome, o, calibration);
  summary["network"] = fp32_net->architecture->title;
  summary["data"] = test.source;
  update_summary(o.out / kSummaryFile, summary);
  write_json(o.out / kBenchmarksFile, benchmarks_json(outcome, o, test));
  write_text(
      o.out / kDetailsFile,
      to_json(quantization_details(outcome.fp32, outcome.int8, calibrator.graph(), int8, outcome.report, test)).dump() +
          '\n');
  write_report(o.out);
  std::printf("the int8 network is %s; figures and pictures are in %s\n", int8_file.c_str(), o.out.c_str());

  const double coverage = outcome.report.int8_mac_coverage();
  if (o.min_coverage && coverage < *o.min_coverage)
    throw ValueError(message("only ", coverage, " of the MACs run in int8, --min-coverage is ", *o.min_coverage));
  if (o.max_drop && outcome.drop() > *o.max_drop)
    throw ValueError(message("accuracy dropped by ", outcome.drop(), " points, --max-drop is ", *o.max_drop));
}

}  // namespace cifar_resnet
