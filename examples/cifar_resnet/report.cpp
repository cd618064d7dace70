// cifar_resnet report: pictures and report.html from the logs of a results folder.
#include "examples/cifar_resnet/report.h"

#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "core/file.h"
#include "examples/cifar_resnet/figures.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/page.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr const char *kBench = "bench.json", *kPage = "report.html", *kHistory = "training_history.png";
constexpr const char* kPictures[] = {kHistory,
                                     "confusion_matrix_original.png",
                                     "confusion_matrix_quantized.png",
                                     "misclassified_examples.png",
                                     "layer_compression.png",
                                     "quantization_effects.png",
                                     "feature_maps.png"};

// use(): of what the file holds.
template <class Use>
void about(const Path& file, const Use& use) {
  try {
    use();
  } catch (const ValueError& e) {
    throw FileError(message(file.string(), ": is damaged: ", e.what()));
  }
}

// Logs that say the steps of their epochs place what happened inside of them.
std::vector<StepFigures> step_figures(const TrainingHistory& h) {
  std::vector<StepFigures> out;
  const EpochResult& last = h.epochs.back();
  const double steps_per_epoch = double(last.step) / double(last.epoch);
  for (const StepResult& s : h.steps)
    if (steps_per_epoch >= 1)
      out.push_back({.epoch = double(s.step) / steps_per_epoch, .loss = s.loss, .accuracy = s.accuracy, .lr = s.lr});
  return out;
}

void draw_history(const Path& out, const TrainingHistory& h) {
  if constexpr (kHaveFigures) {
    if (h.epochs.empty()) return;
    std::vector<EpochFigures> epochs;
    for (const EpochResult& e : h.epochs)
      epochs.push_back({.epoch = e.epoch,
                        .train_loss = e.train.loss,
                        .test_loss = e.test.loss,
                        .train_accuracy = e.train.accuracy,
                        .test_accuracy = e.test.accuracy,
                        .lr = e.lr});
    about(out / kMetricsFile, [&] { draw_training_history(out / kHistory, epochs, step_figures(h)); });
  }
}

void draw_figures(const Path& out, const QuantizationFigures& f) {
  if constexpr (kHaveFigures) {
    draw_confusion_matrix(out / "confusion_matrix_original.png", "fp32 network", f.fp32_confusion, f.classes);
    draw_confusion_matrix(out / "confusion_matrix_quantized.png", "int8 network", f.int8_confusion, f.classes);
    std::vector<LayerBytes> layers;
    for (const LayerRow& l : f.layers)
      if (l.fp32_bytes > 0) layers.push_back({l.name, l.fp32_bytes, l.int8_bytes});
    draw_layer_compression(out / "layer_compression.png", layers);
  }
}

void draw_details(const Path& out, const QuantizationDetails& d, const std::vector<LayerRow>& layers) {
  if constexpr (kHaveFigures) {
    draw_misclassified(out / "misclassified_examples.png", d.misclassified, d.classes);
    constexpr size_t kShown = 4;
    std::vector<BeforeAfter> weights, activations;
    const size_t n = d.histograms.size();
    for (size_t i = 0; i < std::min(kShown, n); ++i) {
      const LayerHistograms& h = d.histograms[n <= kShown ? i : i * (n - 1) / (kShown - 1)];
      weights.push_back(h.weights);
      activations.push_back(h.activations);
    }
    std::vector<LayerError> errors;
    for (const LayerRow& l : layers)
      if (l.sqnr_db) errors.push_back({l.name, *l.sqnr_db});
    draw_quantization_effects(out / "quantization_effects.png", weights, activations, errors);
  }
}

void draw_features(const Path& out, const ImageFeatures& f) {
  if constexpr (kHaveFigures) draw_feature_maps(out / "feature_maps.png", f.pixels, f.caption, f.layers);
}

void draw_pictures(const Path& out, const Results& r) {
  draw_history(out, r.training);
  const std::vector<LayerRow> layers = r.figures ? r.figures->layers : std::vector<LayerRow>();
  if (r.figures) about(out / kBenchmarksFile, [&] { draw_figures(out, *r.figures); });
  if (r.details) about(out / kDetailsFile, [&] { draw_details(out, *r.details, layers); });
  if (r.features) about(out / kFeatureMapsFile, [&] { draw_features(out, *r.features); });
}

// Of pictures and page.
void require_outputs(const Path& out) {
  for (const char* name : kPictures) {
    open_if_there(out / name);
    if (kHaveFigures) require_writable(out / name);
  }
  require_writable(out / kPage);
}

void write_report(const Path& out, const Results& results) {
  draw_pictures(out, results);
  write_text(out / kPage, page(results));
}

}  // namespace

Results read_results(const Path& out, const std::set<std::string>& except) {
  Results r;
  if (!except.contains(kMetricsFile)) r.training = MetricsLog(out / kMetricsFile).read();
  const auto read = [&](const char* name, const auto& use) {
    if (except.contains(name)) return;
    if (const auto log = read_json(out / name)) about(out / name, [&] { use(*log); });
  };
  read(kSummaryFile, [&](const json& log) {
    r.summary = log;
    page_head(log);
  });
  read(kBenchmarksFile, [&](const json& log) { r.figures = quantization_figures(log); });
  read(kDetailsFile, [&](const json& log) { r.details = quantization_details(log); });
  read(kFeatureMapsFile, [&](const json& log) { r.features = image_features(log); });
  read(kBench, [&](const json& log) {
    if (log.value("same_network", json(true)) != false) r.bench = latency_rows(log);
  });
  return r;
}

void replace_network(const Path& out, const json& summary) {
  std::error_code error;
  for (const NamedFile& file : report_files(out))
    if (file.path.filename() != kHistory) std::filesystem::remove(file.path, error);
  update_summary(out / kSummaryFile, summary);
}

void draw_history(const Path& out) { draw_history(out, MetricsLog(out / kMetricsFile).read()); }

std::vector<NamedFile> report_files(const Path& out) {
  std::vector<NamedFile> files;
  for (const char* name : {kSummaryFile, kBenchmarksFile, kDetailsFile, kFeatureMapsFile, kBench, kPage})
    files.push_back(file_of_out(out, name));
  for (const char* name : kPictures) files.push_back(file_of_out(out, name));
  return files;
}

void require_report(const Path& out, const std::set<std::string>& replaced) {
  read_results(out, replaced);
  for (const std::string& name : replaced) {
    open_if_there(out / name);  // what is written is read again
    require_writable(out / name);
  }
  require_outputs(out);
}

void write_report(const Path& out) { write_report(out, read_results(out)); }

void report(const ReportOptions& o) {
  const Results results = read_results(o.out);
  if (results.training.epochs.empty() && !results.figures) {
    if (open_if_there(o.out / kMetricsFile))
      throw FileError(message((o.out / kMetricsFile).string(), ": has no line of a finished epoch"));
    throw FileError(
        message(o.out.string(), ": holds no results (neither ", kMetricsFile, " nor ", kBenchmarksFile, ")"));
  }
  require_outputs(o.out);
  write_report(o.out, results);
  std::printf("%s\n", (o.out / kPage).c_str());
}

}  // namespace cifar_resnet
