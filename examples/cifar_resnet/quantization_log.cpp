#include "examples/cifar_resnet/quantization_log.h"

#include <cfloat>

#include "core/error.h"
#include "examples/cifar_resnet/base64.h"
#include "examples/cifar_resnet/json_fields.h"

namespace cifar_resnet {

using mininn::message;
using mininn::ValueError;
using mininn::nn::graph::ArenaPiece;
using nlohmann::json;

namespace {

constexpr int64_t kMost = int64_t{1} << 40;  // of images, bytes, threads
constexpr size_t kMostGuesses = 10, kMostBins = 1000;

json or_null(const std::optional<double>& v) { return v ? json(*v) : json(); }

json to_json(const Histogram& before, const Histogram& after) {
  return {{"lo", before.lo}, {"hi", before.hi}, {"before", before.counts}, {"after", after.counts}};
}

BeforeAfter before_after(const std::string& name, const json& log) {
  constexpr double kFar = 1e30;
  Histogram before{number_at(log, "lo", -kFar, kFar), number_at(log, "hi", -kFar, kFar),
                   numbers_at(log, "before", 0, double(kMost))},
      after{before.lo, before.hi, numbers_at(log, "after", 0, double(kMost))};
  const size_t bins = before.counts.size();
  if (!(before.lo < before.hi) || bins == 0 || bins > kMostBins || after.counts.size() != bins)
    throw ValueError(message("the histograms of ", mininn::excerpt(name), " have no bins that fit together"));
  return {name, before, after};
}

json to_json(const std::vector<Guess>& guesses) {
  json out = json::array();
  for (const Guess& g : guesses) out.push_back({{"class", g.label}, {"probability", g.probability}});
  return out;
}

std::vector<Guess> guesses(const json& image, const char* net, int64_t classes) {
  std::vector<Guess> out;
  for (const json& g : array_at(image, net))
    out.push_back({int(integer_at(g, "class", 0, classes - 1)), number_at(g, "probability", 0, 1)});
  if (out.empty() || out.size() > kMostGuesses) throw ValueError(message('\'', net, "' has no 1 to 10 guesses"));
  return out;
}

json to_json(const MemoryUse& m) {
  json arena = json::array();
  for (const ArenaPiece& p : m.arena)
    arena.push_back({{"offset", p.offset},
                     {"bytes", p.bytes},
                     {"first", p.first},
                     {"last", p.last},
                     {"is_value", int(p.is_value)}});
  return {{"weight_bytes", m.weight_bytes},
          {"packed_bytes", m.packed_bytes},
          {"arena_bytes", m.arena_bytes},
          {"nodes", m.nodes},
          {"arena", arena}};
}

MemoryUse memory_use(const json& log) {
  MemoryUse m{.weight_bytes = integer_at(log, "weight_bytes", 0, kMost),
              .packed_bytes = integer_at(log, "packed_bytes", 0, kMost),
              .arena_bytes = integer_at(log, "arena_bytes", 0, kMost),
              .nodes = texts_at(log, "nodes"),
              .arena = {}};
  for (const json& p : array_at(log, "arena")) {
    const auto last_node = int64_t(m.nodes.size()) - 1, first = integer_at(p, "first", 0, last_node);
    const ArenaPiece piece{.is_value = integer_at(p, "is_value", 0, 1) == 1,
                           .offset = integer_at(p, "offset", 0, m.arena_bytes),
                           .bytes = integer_at(p, "bytes", 0, m.arena_bytes),
                           .first = size_t(first),
                           .last = size_t(integer_at(p, "last", first, last_node))};
    if (piece.offset + piece.bytes > m.arena_bytes) throw ValueError("a piece of 'arena' lies outside of its bytes");
    m.arena.push_back(piece);
  }
  return m;
}

}  // namespace

json to_json(const LayerRow& l) {
  return {{"name", l.name},
          {"op", l.op},
          {"kernel", l.kernel},
          {"fp32_bytes", l.fp32_bytes},
          {"int8_bytes", l.int8_bytes},
          {"macs", or_null(l.macs)},
          {"sqnr_db", or_null(l.sqnr_db)},
          {"ms", or_null(l.ms)}};
}

json to_json(const LatencyRow& l) {
  return {{"net", l.net},          {"batch", l.batch},
          {"threads", l.threads},  {"ms_per_image", l.ms_per_image},
          {"p50", or_null(l.p50)}, {"p95", or_null(l.p95)},
          {"p99", or_null(l.p99)}, {"peak_rss_mib", or_null(l.peak_rss_mib)}};
}

std::vector<LatencyRow> latency_rows(const json& log) {
  std::vector<LatencyRow> rows;
  if (!log.contains("rows")) return rows;
  for (const json& r : array_at(log, "rows")) {
    LatencyRow row{.net = text_at(r, "net"),
                   .batch = integer_at(r, "batch", 1, kMost),
                   .threads = integer_at(r, "threads", 1, kMost),
                   .ms_per_image = number_at(r, "ms_per_image", 0, DBL_MAX),
                   .p50 = number_if_at(r, "p50", 0, DBL_MAX),
                   .p95 = number_if_at(r, "p95", 0, DBL_MAX),
                   .p99 = number_if_at(r, "p99", 0, DBL_MAX),
                   .peak_rss_mib = number_if_at(r, "peak_rss_mib", 0, DBL_MAX)};
    if (row.net != "fp32" && row.net != "int8") throw ValueError("'net' is neither fp32 nor int8");
    rows.push_back(std::move(row));
  }
  return rows;
}

QuantizationFigures quantization_figures(const json& benchmarks) {
  const json& confusion = object_at(benchmarks, "confusion");
  QuantizationFigures f{.classes = texts_at(confusion, "classes"),
                        .fp32_confusion = integers_at(confusion, "fp32", 0, kMost),
                        .int8_confusion = integers_at(confusion, "int8", 0, kMost),
                        .layers = {},
                        .latency = latency_rows(benchmarks)};
  for (const auto* counts : {&f.fp32_confusion, &f.int8_confusion})
    if (f.classes.empty() || counts->size() != f.classes.size() * f.classes.size())
      throw ValueError(message("'confusion' has ", counts->size(), " counts for ", f.classes.size(), " classes"));
  for (const json& layer : array_at(benchmarks, "layers"))
    f.layers.push_back({.name = text_at(layer, "name"),
                        .op = text_at(layer, "op"),
                        .kernel = text_at(layer, "kernel"),
                        .fp32_bytes = integer_at(layer, "fp32_bytes", 0, kMost),
                        .int8_bytes = integer_at(layer, "int8_bytes", 0, kMost),
                        .macs = number_if_at(layer, "macs", 0, 1e18),
                        .sqnr_db = number_if_at(layer, "sqnr_db", -1e6, 1e6),
                        .ms = number_if_at(layer, "ms", 0, DBL_MAX)});
  return f;
}

json to_json(const QuantizationDetails& d) {
  json images = json::array(), histograms = json::array();
  for (const Misclassified& m : d.misclassified)
    images.push_back({{"index", m.index},
                      {"truth", m.truth},
                      {"pixels", base64(m.pixels)},
                      {"fp32", to_json(m.fp32)},
                      {"int8", to_json(m.int8)}});
  for (const LayerHistograms& h : d.histograms)
    histograms.push_back({{"name", h.weights.name},
                          {"weights", to_json(h.weights.before, h.weights.after)},
                          {"activations", to_json(h.activations.before, h.activations.after)}});
  return {{"classes", d.classes},
          {"misclassified", images},
          {"wrong", d.wrong},
          {"histograms", histograms},
          {"memory", {{"fp32", to_json(d.fp32)}, {"int8", to_json(d.int8)}}}};
}

QuantizationDetails quantization_details(const json& log) {
  QuantizationDetails d{.classes = texts_at(log, "classes"),
                        .misclassified = {},
                        .wrong = integer_at(log, "wrong", 0, kMost),
                        .histograms = {},
                        .fp32 = memory_use(object_at(object_at(log, "memory"), "fp32")),
                        .int8 = memory_use(object_at(object_at(log, "memory"), "int8"))};
  const auto classes = int64_t(d.classes.size());
  for (const json& image : array_at(log, "misclassified"))
    d.misclassified.push_back({.pixels = bytes_at(image, "pixels", 3 * 32 * 32),
                               .index = integer_at(image, "index", 0, kMost),
                               .truth = int(integer_at(image, "truth", 0, classes - 1)),
                               .fp32 = guesses(image, "fp32", classes),
                               .int8 = guesses(image, "int8", classes)});
  for (const json& h : array_at(log, "histograms")) {
    const std::string name = text_at(h, "name");
    d.histograms.push_back(
        {before_after(name, object_at(h, "weights")), before_after(name, object_at(h, "activations"))});
  }
  return d;
}

}  // namespace cifar_resnet
