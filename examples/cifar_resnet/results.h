// The text files of a results folder.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "core/file.h"
#include "examples/cifar_resnet/training_listener.h"

namespace cifar_resnet {

inline constexpr const char *kMetricsFile = "metrics.jsonl", *kSummaryFile = "summary.json";

inline constexpr uint64_t kMostOfLog = uint64_t{256} << 20;  // bytes; logs are read whole

// A file to read; null if there is no such file, or a device (/dev/null keeps nothing). Throws FileError, also if it is
// larger than `most` bytes.
mininn::File open_if_there(const std::filesystem::path& file, uint64_t most = UINT64_MAX);

// Its bytes. Throws FileError.
std::optional<std::string> read_if_there(const std::filesystem::path& file, uint64_t most);

// Writes `text`, whole or not at all. Throws FileError.
void write_text(const std::filesystem::path& file, const std::string& text);

// Writes `value` indented, whole or not at all. Throws FileError.
void write_json(const std::filesystem::path& file, const nlohmann::json& value);

// The same for the JSON object in a file. Throws FileError also if it holds something else.
std::optional<nlohmann::json> read_json(const std::filesystem::path& file);

// Sets these keys of a JSON object file, keeping its others; adds machine, threads, version and revision. Throws
// FileError.
void update_summary(const std::filesystem::path& file, const nlohmann::json& values);

// What a summary says it is of. Programs that knew one network alone did not say it.
std::string network_of(const nlohmann::json& summary);

// Throws ValueError if the summary in the folder is of another network: figures and pictures of both would stand side
// by side. FileError as read_json().
void require_same_network(const std::filesystem::path& out, const std::string& title);

// Lines of the metrics.
nlohmann::json to_json(const StepResult& s);
nlohmann::json to_json(const EpochResult& e);
// Throws ValueError naming the field that makes no sense, or is missing though pictures show it.
EpochResult epoch_result(const nlohmann::json& line);

// Throws ValueError as epoch_result().
StepResult step_result(const nlohmann::json& line);

struct TrainingHistory {
  std::vector<StepResult> steps;
  std::vector<EpochResult> epochs;
};

// metrics.jsonl: a JSON object per line, "step" and "epoch" ones by their "kind".
class MetricsLog final : public TrainingListener {
 public:
  explicit MetricsLog(std::filesystem::path file) : file_(std::move(file)) {}
  // Drops the lines after plan.first_step, what an interrupted run wrote beyond its checkpoint. The "epoch" lines
  // become those of `history`: another run may have begun the log anew and got no further.
  void begin(const RunPlan& plan, std::span<const EpochResult> history) override;
  void step(const StepResult& s) override;
  void epoch(const EpochResult& e) override;
  // The "step" and "epoch" lines; none if there is no such file. A last line that was cut off is passed over. Throws
  // FileError naming the line for another one that is damaged.
  TrainingHistory read() const;

 private:
  void append(const nlohmann::json& line);

  std::filesystem::path file_;
};

}  // namespace cifar_resnet
