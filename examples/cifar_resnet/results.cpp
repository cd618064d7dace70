#include "examples/cifar_resnet/results.h"

#include <fstream>
#include <sstream>

#include "core/error.h"
#include "core/parallel.h"
#include "examples/cifar_resnet/network.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

void write_text(const Path& file, const std::string& text) {
  const Path temporary = file.string() + ".tmp";
  std::ofstream out(temporary, std::ios::binary);
  out << text << std::flush;
  const bool written = bool(out);
  out.close();
  std::error_code error;
  if (written) std::filesystem::rename(temporary, file, error);
  if (!written || error) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw FileError(
        message(file.string(), ": cannot be written", error ? ": " + error.message() : " (is the disk full?)"));
  }
}

void write_json(const Path& file, const json& value) { write_text(file, value.dump(2) + "\n"); }

void update_summary(const Path& file, const json& values) {
  json summary = json::object();
  if (std::ifstream in(file); in) {
    summary = json::parse(in, nullptr, false);
    if (!summary.is_object()) summary = json::object();  // somebody else's file: start anew
  }
  summary.update(values);
  summary.update({{"machine", machine_name()},
                  {"threads", num_threads()},
                  {"mininn_version", MININN_VERSION},
                  {"git", git_revision()}});
  write_json(file, summary);
}

void MetricsLog::append(const json& line) {
  std::ofstream out(file_, std::ios::app);
  out << line.dump() << std::endl;
  if (!out) throw FileError(message(file_.string(), ": cannot be written (is the disk full?)"));
}

void MetricsLog::keep_until(int64_t step) {
  std::ifstream in(file_);
  std::ostringstream kept;
  for (std::string line; std::getline(in, line);) {
    const json value = json::parse(line, nullptr, false);
    if (value.is_object() && value.value("step", int64_t{-1}) <= step) kept << line << '\n';
  }
  write_text(file_, kept.str());
}

}  // namespace cifar_resnet
