// The text files of a results folder.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace cifar_resnet {

// Writes `text`, whole or not at all. Throws FileError.
void write_text(const std::filesystem::path& file, const std::string& text);

// Writes `value` indented, whole or not at all. Throws FileError.
void write_json(const std::filesystem::path& file, const nlohmann::json& value);

// Sets these keys of a JSON object file, keeping its others; adds machine, threads, version and revision.
void update_summary(const std::filesystem::path& file, const nlohmann::json& values);

// A log with one JSON object per line, each with a "step".
class MetricsLog {
 public:
  explicit MetricsLog(std::filesystem::path file) : file_(std::move(file)) {}
  void append(const nlohmann::json& line);
  // Drops the lines after `step`: what an interrupted run wrote beyond its checkpoint.
  void keep_until(int64_t step);

 private:
  std::filesystem::path file_;
};

}  // namespace cifar_resnet
