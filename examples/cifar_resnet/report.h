// report.html and the pictures that can be redrawn from the files of a results folder.
#pragma once

#include <nlohmann/json.hpp>

#include "examples/cifar_resnet/figures.h"

namespace cifar_resnet {

// training_history.png from "epoch" lines as train.cpp writes them; nothing in a build without pictures.
void draw_history(const Path& out, const nlohmann::json& epochs);

// confusion_matrix_*.png and layer_compression.png from the content of quantization_benchmarks.json.
void draw_quantization(const Path& out, const nlohmann::json& benchmarks);

// report.html: the numbers of summary.json and every picture of the folder in one file that opens offline. Throws
// FileError.
void write_report(const Path& out);

}  // namespace cifar_resnet
