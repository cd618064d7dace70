// report.html and the pictures that can be redrawn from the files of a results folder.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "examples/cifar_resnet/figures.h"
#include "examples/cifar_resnet/results.h"

namespace cifar_resnet {

// training_history.png; nothing in a build without pictures.
void draw_history(const Path& out, std::span<const EpochResult> epochs);

// What the pictures below show of quantization_benchmarks.json.
struct QuantizationFigures {
  std::vector<std::string> classes;
  std::vector<int64_t> fp32_confusion, int8_confusion;
  std::vector<LayerBytes> layers;
};
// Throws ValueError naming the field that makes no sense.
QuantizationFigures quantization_figures(const nlohmann::json& benchmarks);

// confusion_matrix_*.png and layer_compression.png; nothing in a build without pictures.
void draw_quantization(const Path& out, const QuantizationFigures& figures);

// The files that write_report(out) reads and writes.
std::vector<NamedFile> report_files(const Path& out);

// Throws FileError if write_report(out) could not read or write its files now: before long work, not after it.
void require_report(const Path& out);

// report.html: the numbers of summary.json and every picture of the folder in one file that opens offline. Throws
// FileError.
void write_report(const Path& out);

}  // namespace cifar_resnet
