// cifar_resnet report: pictures and report.html from the logs of a results folder.
#include "examples/cifar_resnet/report.h"

#include <cstdio>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/results.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

// The JSON object in a file; null if there is no such file. Throws FileError if it holds something else.
json read_json(const Path& file) {
  if (!std::filesystem::exists(file)) return {};
  json value = json::parse(read_file(file), nullptr, false);
  if (!value.is_object()) throw FileError(message(file.string(), ": holds no JSON object"));
  return value;
}

json epoch_lines(const Path& metrics) {
  json epochs = json::array();
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);) {
    json value = json::parse(line, nullptr, false);
    if (value.is_object() && value.value("kind", "") == "epoch") epochs.push_back(std::move(value));
  }
  return epochs;
}

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
    html << "<tr>";
    for (const char* c : columns) html << "<td>" << shown(layer.value(c, json())) << "</td>";
    html << "</tr>\n";
  }
  html << "</table>\n";
}

}  // namespace

void draw_history(const Path& out, const json& epochs) {
  if constexpr (kHaveFigures) {
    std::vector<EpochFigures> figures;
    for (const auto& line : epochs)
      figures.push_back({.epoch = line.at("epoch"),
                         .train_loss = line.at("train_loss"),
                         .test_loss = line.at("test_loss"),
                         .train_accuracy = line.at("train_accuracy"),
                         .test_accuracy = line.at("test_accuracy"),
                         .lr = line.at("lr")});
    draw_training_history(out / "training_history.png", figures);
  }
}

void draw_quantization(const Path& out, const json& benchmarks) {
  if constexpr (kHaveFigures) {
    const auto& confusion = benchmarks.at("confusion");
    const auto classes = confusion.at("classes").get<std::vector<std::string>>();
    for (const auto& [net, file] : {std::pair{"fp32", "original"}, std::pair{"int8", "quantized"}})
      draw_confusion_matrix(out / message("confusion_matrix_", file, ".png"), message(net, " network"),
                            confusion.at(net).get<std::vector<int64_t>>(), classes);
    std::vector<LayerBytes> bytes;
    for (const auto& layer : benchmarks.at("layers"))
      if (layer.at("fp32_bytes") > 0)
        bytes.push_back({layer.at("name"), layer.at("fp32_bytes"), layer.at("int8_bytes")});
    draw_layer_compression(out / "layer_compression.png", bytes);
  }
}

void write_report(const Path& out) {
  const json summary = read_json(out / "summary.json");
  std::ostringstream html;
  html << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mininn: ResNet-18 on "
          "CIFAR-10</title>\n"
          "<style>body{font:15px sans-serif;max-width:70em;margin:2em auto;color:#1e293b}img{max-width:100%}"
          "table{border-collapse:collapse;margin:1em 0}th,td{border-bottom:1px solid #e2e8f0;padding:.25em .8em;"
          "text-align:left}</style></head>\n<body><h1>ResNet-18 on CIFAR-10</h1>\n";
  number_table(html, summary);
  for (const char* name : {"training_history", "confusion_matrix_original", "confusion_matrix_quantized",
                           "misclassified_examples", "layer_compression", "quantization_effects", "feature_maps"}) {
    const Path picture = out / (std::string(name) + ".png");
    if (std::filesystem::exists(picture))
      html << "<p><img alt=\"" << name << "\" src=\"data:image/png;base64," << base64(read_file(picture))
           << "\"></p>\n";
  }
  if (summary.contains("layers")) layer_table(html, summary.at("layers"));
  html << "</body></html>\n";
  write_text(out / "report.html", html.str());
}

void report(const ReportOptions& o) {
  const json epochs = epoch_lines(o.out / "metrics.jsonl"),
             benchmarks = read_json(o.out / "quantization_benchmarks.json");
  if (epochs.empty() && benchmarks.is_null())
    throw FileError(
        message(o.out.string(), ": holds no results (neither metrics.jsonl nor quantization_benchmarks.json)"));
  try {
    if (!epochs.empty()) draw_history(o.out, epochs);
    if (!benchmarks.is_null()) draw_quantization(o.out, benchmarks);
  } catch (const json::exception& e) {
    throw FileError(message(o.out.string(), ": its logs are damaged: ", e.what()));
  }
  write_report(o.out);
  std::printf("%s\n", (o.out / "report.html").c_str());
}

}  // namespace cifar_resnet
