#include "examples/cifar_resnet/results.h"

#include <cerrno>
#include <cfloat>
#include <cstring>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "examples/cifar_resnet/json_fields.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr double kRounding = 1e-3;  // by which a loss, never negative, may fall below 0

Quality quality_at(const json& line, const std::string& name) {
  return {number_at(line, (name + "_loss").c_str(), -kRounding, DBL_MAX),
          number_at(line, (name + "_accuracy").c_str(), 0, 1)};
}

}  // namespace

File open_if_there(const Path& file, uint64_t most) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) return {};
  if (std::filesystem::is_character_file(file, error)) return {};
  File in = open_regular_file(file);
  if (const uint64_t bytes = file_size(in.get()); bytes > most)
    throw FileError(message(file.string(), ": has ", bytes, " bytes; at most ", most, " are read"));
  return in;
}

std::optional<std::string> read_if_there(const Path& file, uint64_t most) {
  const File in = open_if_there(file, most);
  if (!in) return {};
  return read_all(in.get(), most);
}

void write_text(const Path& file, const std::string& text) {
  AtomicFile out(file);
  out.write(text.data(), text.size());
  out.commit();
}

void write_json(const Path& file, const json& value) { write_text(file, value.dump(2) + "\n"); }

std::optional<json> read_json(const Path& file) {
  const auto text = read_if_there(file, kMostOfLog);
  if (!text) return {};
  auto value = parse_object(*text);
  if (!value) throw FileError(message(file.string(), ": holds no JSON object"));
  return value;
}

void update_summary(const Path& file, const json& values) {
  json summary = read_json(file).value_or(json::object());
  summary.update(values);
  summary.update({{"machine", machine_name()},
                  {"threads", num_threads()},
                  {"mininn_version", MININN_VERSION},
                  {"git", git_revision()}});
  write_json(file, summary);
}

std::string network_of(const json& summary) {
  const json network = summary.value("network", json());
  return network.is_string() ? network.get<std::string>() : "ResNet-18";
}

void require_same_network(const Path& out, const std::string& title) {
  const json summary = read_json(out / kSummaryFile).value_or(json::object());
  if (!summary.empty() && network_of(summary) != title)
    throw ValueError(message("--out ", out.string(), " holds results of a ", excerpt(network_of(summary)),
                             ", this is a ", title, ": name another folder"));
}

json to_json(const StepResult& s) {
  return {{"kind", "step"},
          {"step", s.step},
          {"epoch", s.epoch},
          {"loss", s.loss},
          {"accuracy", s.accuracy},
          {"lr", s.lr},
          {"images_per_s", s.images_per_s}};
}

json to_json(const EpochResult& e) {
  json line{{"kind", "epoch"},
            {"epoch", e.epoch},
            {"step", e.step},
            {"train_loss", e.train.loss},
            {"train_accuracy", e.train.accuracy},
            {"test_loss", e.test.loss},
            {"test_accuracy", e.test.accuracy},
            {"lr", e.lr},
            {"seconds", e.seconds},
            {"images_per_s", e.images_per_s}};
  if (e.validation) {
    line["validation_loss"] = e.validation->loss;
    line["validation_accuracy"] = e.validation->accuracy;
  }
  return line;
}

EpochResult epoch_result(const json& line) {
  EpochResult e;
  e.epoch = integer_at(line, "epoch", 1, INT64_MAX);
  e.train = quality_at(line, "train");
  e.test = quality_at(line, "test");
  if (line.contains("validation_loss")) e.validation = quality_at(line, "validation");
  e.lr = number_at(line, "lr", 0, DBL_MAX);
  if (line.contains("step")) e.step = integer_at(line, "step", 0, INT64_MAX);
  if (line.contains("seconds")) e.seconds = number_at(line, "seconds", 0, DBL_MAX);
  if (line.contains("images_per_s")) e.images_per_s = number_at(line, "images_per_s", 0, DBL_MAX);
  return e;
}

StepResult step_result(const json& line) {
  return {.step = integer_at(line, "step", 1, INT64_MAX),
          .epoch = integer_at(line, "epoch", 1, INT64_MAX),
          .loss = number_at(line, "loss", -kRounding, DBL_MAX),
          .accuracy = number_at(line, "accuracy", 0, 1),
          .lr = number_at(line, "lr", 0, DBL_MAX),
          .images_per_s = number_at(line, "images_per_s", 0, DBL_MAX)};
}

void MetricsLog::append(const json& line) {
  const std::string text = line.dump() + '\n';
  const File out = open_file(file_, "ab");
  if (!out || std::fwrite(text.data(), 1, text.size(), out.get()) != text.size() || std::fflush(out.get()) != 0)
    throw FileError(message(file_.string(), ": cannot be written: ", std::strerror(errno)));
}

void MetricsLog::step(const StepResult& s) { append(to_json(s)); }

void MetricsLog::epoch(const EpochResult& e) { append(to_json(e)); }

void MetricsLog::begin(const RunPlan& plan, std::span<const EpochResult> history) {
  std::istringstream in(read_if_there(file_, kMostOfLog).value_or(""));
  std::string kept;
  const auto add_epochs_before = [&](int64_t later) {
    for (; !history.empty() && history.front().step < later; history = history.subspan(1))
      kept += to_json(history.front()).dump() + '\n';
  };
  for (std::string line; std::getline(in, line);) {
    const auto value = parse_object(line);
    const json at = value ? value->value("step", json()) : json();
    if (!at.is_number_integer() || at > plan.first_step || value->value("kind", json()) == "epoch") continue;
    add_epochs_before(at);
    kept += line + '\n';
  }
  add_epochs_before(INT64_MAX);
  write_text(file_, kept);
}

TrainingHistory MetricsLog::read() const {
  TrainingHistory out;
  std::istringstream in(read_if_there(file_, kMostOfLog).value_or(""));
  int64_t number = 1;
  for (std::string line; std::getline(in, line); ++number) {
    const auto value = parse_object(line);
    if (!value && !in.eof()) throw FileError(message(file_.string(), ": line ", number, ": is no JSON object"));
    const json kind = value ? value->value("kind", json()) : json();
    try {
      if (kind == "epoch") out.epochs.push_back(epoch_result(*value));
      if (kind == "step") out.steps.push_back(step_result(*value));
    } catch (const ValueError& e) {
      throw FileError(message(file_.string(), ": line ", number, ": ", e.what()));
    }
  }
  return out;
}

}  // namespace cifar_resnet
