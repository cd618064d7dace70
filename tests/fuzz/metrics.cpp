// The logs of a results folder, metrics.jsonl and the JSON files, behind each other with a line of dashes between them.
// What the report accepts it draws, what the program keeps of a log it can read again.
#include <algorithm>

#include "core/error.h"
#include "examples/cifar_resnet/feature_maps.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/quantization_log.h"
#include "examples/cifar_resnet/results.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

using nlohmann::json;

namespace {

const std::string kBetween = "\n-----\n";
const char* const kNames[] = {"metrics.jsonl",     "quantization_benchmarks.json",
                              "summary.json",      "quantization_details.json",
                              "feature_maps.json", "bench.json"};

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(separator, begin)) != text.npos; begin = end + separator.size())
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

std::string join(const std::vector<std::string>& parts, const std::string& separator) {
  std::string out = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) out += separator + parts[i];
  return out;
}

std::string metrics(int epochs) {
  std::string lines;
  for (int i = 1; i <= epochs; ++i) {
    lines += json{{"kind", "step"},  {"step", 2 * i - 1}, {"epoch", i},         {"loss", 2.3 / i},
                  {"accuracy", 0.5}, {"lr", 0.1},         {"images_per_s", 900}}
                 .dump() +
             '\n';
    lines += json{{"kind", "epoch"},       {"epoch", i},          {"step", 2 * i},  {"train_loss", 2.1 / i},
                  {"train_accuracy", 0.6}, {"lr", 0.1 / i},       {"seconds", 1.5}, {"images_per_s", 900.5},
                  {"test_loss", 2.2 / i},  {"test_accuracy", 0.5}}
                 .dump() +
             '\n';
  }
  return lines;
}

std::string benchmarks() {
  const json layer{{"name", "layer1.0.conv1"},
                   {"op", "conv2d+relu"},
                   {"kernel", "own.direct"},
                   {"fp32_bytes", 4096},
                   {"int8_bytes", 1100},
                   {"sqnr_db", 33.1},
                   {"ms", 0.01}};
  return json{{"confusion", {{"classes", {"cat", "dog"}}, {"fp32", {3, 1, 0, 4}}, {"int8", {3, 1, 1, 3}}}},
              {"rows", {{{"net", "fp32"}, {"batch", 1}, {"threads", 2}, {"ms_per_image", 0.5}}}},
              {"layers", {layer, layer}}}
      .dump();
}

std::string details() {
  cifar_resnet::QuantizationDetails d{
      .classes = {"cat", "dog"}, .misclassified = {}, .wrong = 2, .histograms = {}, .fp32 = {}, .int8 = {}};
  const std::vector<uint8_t> pixels(3 * 32 * 32, 77);
  const cifar_resnet::Histogram h{-1, 2, {1, 2, 3}};
  d.misclassified = {{pixels, 4, 1, {{0, 0.75}, {1, 0.25}}, {{1, 0.6}}}};
  d.histograms = {{{"conv1", h, h}, {"conv1", h, h}}};
  d.fp32 = {400, 500, 256, {"conv1", "fc"}, {{true, 0, 100, 0, 1}, {false, 128, 64, 1, 1}}};
  d.int8 = d.fp32;
  return cifar_resnet::to_json(d).dump();
}

std::string features() {
  const std::vector<uint8_t> pixels(3 * 32 * 32, 7);
  return cifar_resnet::to_json({pixels, "test image 0: cat", {{"stem", 2, 3, 64, {{1, 2, 3, 4, 5, 6}}}}}).dump();
}

std::string summary() {
  return json{{"fp32_accuracy", 0.9},
              {"machine", "one <two>"},
              {"train", {{"epochs", 2}}},
              {"layers", {{{"name", "conv1"}, {"op", "conv2d"}, {"fp32_bytes", 10}, {"sqnr_db", nullptr}}}}}
      .dump();
}

}  // namespace

std::vector<std::string> seeds() {
  return {join({metrics(3), benchmarks(), summary(), details(), features(), benchmarks()}, kBetween),
          join({metrics(1), "", ""}, kBetween), join({"", benchmarks(), "{}", details()}, kBetween)};
}

std::string mutate(std::string input, Random& random) {
  if (one_in(random, 10)) return mutate_bytes(std::move(input), random);
  std::vector<std::string> parts = split(input, kBetween);
  std::string& part = pick(random, parts);
  std::vector<std::string> lines = split(part, "\n");
  std::string& line = pick(random, lines);
  if (one_in(random, 8))
    line = pick(random, lines);
  else
    line = mutate_json_text(line, random);
  part = join(lines, "\n");
  return join(parts, kBetween);
}

void use(const std::filesystem::path& file) {
  const testing::TempFolder out;
  const std::vector<std::string> parts = split(read_file(file), kBetween);
  for (size_t i = 0; i < std::min(parts.size(), std::size(kNames)); ++i)
    if (!parts[i].empty()) testing::write_file(out / kNames[i], parts[i]);
  const auto log = out / kNames[0];
  cifar_resnet::report({.out = out.path});
  const auto epochs = cifar_resnet::MetricsLog(log).read().epochs;
  cifar_resnet::MetricsLog(log).begin({.first_step = 3}, epochs);
  const std::string kept = read_file(log);
  cifar_resnet::MetricsLog(log).begin({.first_step = 3}, epochs);
  require(read_file(log) == kept, "what was kept is kept again");
  cifar_resnet::update_summary(out / kNames[2], {{"fp32_accuracy", 0.5}});
  require(json::parse(read_file(out / kNames[2])).at("fp32_accuracy") == 0.5, "a summary takes a number");
}

}  // namespace mininn::fuzz
