// report.html and the pictures, from the logs of a results folder alone.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "examples/cifar_resnet/feature_maps.h"
#include "examples/cifar_resnet/quantization_log.h"
#include "examples/cifar_resnet/results.h"

namespace cifar_resnet {

// What the logs of a folder say.
struct Results {
  nlohmann::json summary = nlohmann::json::object();
  TrainingHistory training;
  std::optional<QuantizationFigures> figures;
  std::optional<QuantizationDetails> details;
  std::optional<ImageFeatures> features;
  std::vector<LatencyRow> bench;  // of a bench.json, which the command `bench` writes where it is told to
};
// Throws FileError naming the file, and the field that makes no sense. Passes over the files called as in `except`.
Results read_results(const Path& out, const std::set<std::string>& except = {});

// The folder's network becomes another one: `summary` is all that is known of it, what was measured of the one before
// goes.
void replace_network(const Path& out, const nlohmann::json& summary);

// training_history.png from metrics.jsonl; nothing in a build without pictures, or without a finished epoch.
void draw_history(const Path& out);

// The files that write_report(out) reads and writes.
std::vector<NamedFile> report_files(const Path& out);

// Throws FileError if what write_report(out) reads and writes could not be read and written now: before long work, not
// after it. Of the logs `replaced`, which are yet to be written, it does not matter what they hold.
void require_report(const Path& out, const std::set<std::string>& replaced);

// Every picture that the logs have the numbers of, and report.html: one file that opens offline. Throws FileError.
void write_report(const Path& out);

}  // namespace cifar_resnet
