// cifar_resnet report: pictures and report.html from the logs of a results folder.
#include "examples/cifar_resnet/report.h"

#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "examples/cifar_resnet/json_fields.h"
#include "examples/cifar_resnet/options.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr const char *kSummary = "summary.json", *kReport = "report.html";
constexpr const char* kPictures[] = {"training_history",
                                     "confusion_matrix_original",
                                     "confusion_matrix_quantized",
                                     "misclassified_examples",
                                     "layer_compression",
                                     "quantization_effects",
                                     "feature_maps"};

Path picture_file(const Path& out, const std::string& name) { return out / (name + ".png"); }

// RFC 4648.
std::string base64(const std::string& bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < n ? uint8_t(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? digits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

std::string shown(const json& v) {
  if (v.is_string()) return escaped(v.get<std::string>());
  if (v.is_number_float()) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", v.get<double>());
    return text;
  }
  return v.is_null() ? "" : escaped(v.dump());
}

void number_table(std::ostream& html, const json& summary) {
  html << "<table>\n";
  for (const auto& [key, value] : summary.items())
    if (!value.is_structured()) html << "<tr><th>" << escaped(key) << "</th><td>" << shown(value) << "</td></tr>\n";
  html << "</table>\n";
}

void layer_table(std::ostream& html, const json& layers) {
  const char* columns[] = {"name", "op", "kernel", "fp32_bytes", "int8_bytes", "sqnr_db", "ms"};
  html << "<h2>Layers</h2>\n<table>\n<tr>";
  for (const char* c : columns) html << "<th>" << c << "</th>";
  html << "</tr>\n";
  for (const auto& layer : layers) {
    if (!layer.is_object()) continue;
    html << "<tr>";
    for (const char* c : columns) html << "<td>" << shown(layer.value(c, json())) << "</td>";
    html << "</tr>\n";
  }
  html << "</table>\n";
}

}  // namespace

void draw_history(const Path& out, std::span<const EpochResult> epochs) {
  if constexpr (kHaveFigures) {
    std::vector<EpochFigures> figures;
    for (const EpochResult& e : epochs)
      figures.push_back({.epoch = e.epoch,
                         .train_loss = e.train.loss,
                         .test_loss = e.test.loss,
                         .train_accuracy = e.train.accuracy,
                         .test_accuracy = e.test.accuracy,
                         .lr = e.lr});
    draw_training_history(out / "training_history.png", figures);
  }
}

QuantizationFigures quantization_figures(const json& benchmarks) {
  constexpr int64_t kMost = int64_t{1} << 40;  // of images and bytes
  const json& confusion = object_at(benchmarks, "confusion");
  QuantizationFigures f{.classes = texts_at(confusion, "classes"),
                        .fp32_confusion = integers_at(confusion, "fp32", 0, kMost),
                        .int8_confusion = integers_at(confusion, "int8", 0, kMost),
                        .layers = {}};
  for (const json& layer : array_at(benchmarks, "layers"))
    if (const int64_t fp32_bytes = integer_at(layer, "fp32_bytes", 0, kMost); fp32_bytes > 0)
      f.layers.push_back({text_at(layer, "name"), fp32_bytes, integer_at(layer, "int8_bytes", 0, kMost)});
  return f;
}

void draw_quantization(const Path& out, const QuantizationFigures& f) {
  if constexpr (kHaveFigures) {
    draw_confusion_matrix(out / "confusion_matrix_original.png", "fp32 network", f.fp32_confusion, f.classes);
    draw_confusion_matrix(out / "confusion_matrix_quantized.png", "int8 network", f.int8_confusion, f.classes);
    draw_layer_compression(out / "layer_compression.png", f.layers);
  }
}

std::vector<NamedFile> report_files(const Path& out) {
  std::vector<NamedFile> files{file_of_out(out, kSummary), file_of_out(out, kReport)};
  for (const char* name : kPictures) files.push_back(file_of_out(out, message(name, ".png")));
  return files;
}

void require_report(const Path& out) {
  read_json(out / kSummary);
  for (const char* name : kPictures) open_if_there(picture_file(out, name), kMostOfPicture);
  require_writable(out / kReport);
}

void write_report(const Path& out) {
  const json summary = read_json(out / kSummary).value_or(json::object());
  std::ostringstream html;
  const std::string title = escaped(network_of(summary)) + " on CIFAR-10";
  html << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mininn: " << title
       << "</title>\n"
          "<style>body{font:15px sans-serif;max-width:70em;margin:2em auto;color:#1e293b}img{max-width:100%}"
          "table{border-collapse:collapse;margin:1em 0}th,td{border-bottom:1px solid #e2e8f0;padding:.25em .8em;"
          "text-align:left}</style></head>\n<body><h1>"
       << title << "</h1>\n";
  number_table(html, summary);
  for (const char* name : kPictures)
    if (const auto png = read_if_there(picture_file(out, name), kMostOfPicture))
      html << "<p><img alt=\"" << name << "\" src=\"data:image/png;base64," << base64(*png) << "\"></p>\n";
  if (const json layers = summary.value("layers", json()); layers.is_array()) layer_table(html, layers);
  html << "</body></html>\n";
  write_text(out / kReport, html.str());
}

void report(const ReportOptions& o) {
  const Path metrics_file = o.out / "metrics.jsonl";
  const auto epochs = MetricsLog(metrics_file).epochs();
  const Path benchmarks_file = o.out / "quantization_benchmarks.json";
  const auto benchmarks = read_json(benchmarks_file);
  if (epochs.empty() && !benchmarks) {
    if (open_if_there(metrics_file))
      throw FileError(message(metrics_file.string(), ": has no line of a finished epoch"));
    throw FileError(
        message(o.out.string(), ": holds no results (neither metrics.jsonl nor quantization_benchmarks.json)"));
  }
  require_report(o.out);
  try {
    if (benchmarks) draw_quantization(o.out, quantization_figures(*benchmarks));
  } catch (const ValueError& e) {
    throw FileError(message(benchmarks_file.string(), ": is damaged: ", e.what()));
  }
  if (!epochs.empty()) draw_history(o.out, epochs);
  write_report(o.out);
  std::printf("%s\n", (o.out / "report.html").c_str());
}

}  // namespace cifar_resnet
