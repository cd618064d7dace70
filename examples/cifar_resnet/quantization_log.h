// What a quantization leaves in its folder: quantization_benchmarks.json, the numbers, and quantization_details.json,
// what pictures show beside them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "examples/cifar_resnet/figures.h"
#include "nn/graph/memory_plan.h"

namespace cifar_resnet {

inline constexpr const char *kBenchmarksFile = "quantization_benchmarks.json",
                            *kDetailsFile = "quantization_details.json";

struct LayerRow {
  std::string name, op, kernel;
  int64_t fp32_bytes = 0, int8_bytes = 0;
  std::optional<double> macs, sqnr_db, ms;
};

// Time per image, and of whole calls where `bench` measured it.
struct LatencyRow {
  std::string net;  // "fp32" or "int8"
  int64_t batch = 0, threads = 0;
  double ms_per_image = 0;
  std::optional<double> p50, p95, p99, peak_rss_mib;
};

struct QuantizationFigures {
  std::vector<std::string> classes;
  std::vector<int64_t> fp32_confusion, int8_confusion;  // [truth * classes + prediction]
  std::vector<LayerRow> layers;
  std::vector<LatencyRow> latency;
};

// What a network keeps in memory: for one image, where activations are concerned.
struct MemoryUse {
  int64_t weight_bytes = 0, packed_bytes = 0;  // in the file, and as kernels read them
  int64_t arena_bytes = 0;
  std::vector<std::string> nodes;
  std::vector<mininn::nn::graph::ArenaPiece> arena;
};

struct LayerHistograms {
  BeforeAfter weights, activations;
};

struct QuantizationDetails {
  std::vector<std::string> classes;
  std::vector<Misclassified> misclassified;  // the first of `wrong`; those on which the networks disagree go first
  int64_t wrong = 0;                         // images that one of the networks, or both, got wrong
  std::vector<LayerHistograms> histograms;
  MemoryUse fp32, int8;
};

// Of JSON that nobody vouches for. They throw ValueError naming the field that makes no sense.
QuantizationFigures quantization_figures(const nlohmann::json& benchmarks);
std::vector<LatencyRow> latency_rows(const nlohmann::json& log);  // of its "rows", if there are any
QuantizationDetails quantization_details(const nlohmann::json& log);

nlohmann::json to_json(const LayerRow& l);
nlohmann::json to_json(const LatencyRow& l);
nlohmann::json to_json(const QuantizationDetails& d);

}  // namespace cifar_resnet
