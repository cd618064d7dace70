#include "examples/cifar_resnet/page.h"

#include <cfloat>
#include <string_view>

#include "examples/cifar_resnet/json_fields.h"
#include "examples/cifar_resnet/report.h"
#include "examples/cifar_resnet/report_page.h"
#include "examples/cifar_resnet/thinned.h"

namespace cifar_resnet {

using nlohmann::json;

namespace {

constexpr size_t kMostPoints = 4000;  // of a curve

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

// JSON that neither ends the script element it stands in nor begins a comment there.
std::string in_script(const json& value) {
  std::string out;
  for (const char c : value.dump(-1, ' ', false, json::error_handler_t::replace))
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  return out;
}

// "train: options: lr", 0.1
void add_about(json& rows, const std::string& prefix, const json& values) {
  for (const auto& [key, value] : values.items()) {
    if (value.is_object())
      add_about(rows, prefix + key + ": ", value);
    else if (value.is_primitive() && !value.is_null())
      rows.push_back({prefix + key, value});
  }
}

json training_json(const TrainingHistory& h) {
  json steps = json::array(), epochs = json::array();
  thinned(h.steps.size(), kMostPoints, [&](size_t i) {
    const StepResult& s = h.steps[i];
    steps.push_back({s.step, s.epoch, s.loss, s.accuracy, s.lr, s.images_per_s});
  });
  thinned(h.epochs.size(), kMostPoints, [&](size_t i) { epochs.push_back(to_json(h.epochs[i])); });
  return {{"steps", steps}, {"epochs", epochs}};
}

template <class Row>
json rows_json(const std::vector<Row>& rows) {
  json out = json::array();
  for (const Row& row : rows) out.push_back(to_json(row));
  return out;
}

json page_data(const Results& r) {
  json data{
      {"network", network_of(r.summary)}, {"head", page_head(r.summary)}, {"training", training_json(r.training)}};
  if (r.figures) {
    data["layers"] = rows_json(r.figures->layers);
    data["confusion"] = {
        {"classes", r.figures->classes}, {"fp32", r.figures->fp32_confusion}, {"int8", r.figures->int8_confusion}};
    data["latency"]["ptq"] = rows_json(r.figures->latency);
  }
  if (!r.bench.empty()) data["latency"]["bench"] = rows_json(r.bench);
  if (r.details) data["details"] = to_json(*r.details);
  if (r.features) data["features"] = to_json(*r.features);
  return data;
}

std::string replaced(const std::string& text, const std::string& mark, const std::string& by) {
  std::string out;
  size_t begin = 0;
  for (size_t end; (end = text.find(mark, begin)) != text.npos; begin = end + mark.size())
    out += text.substr(begin, end - begin) + by;
  return out + text.substr(begin);
}

// Programs that did not say it mostly had CIFAR-10.
std::string data_of(const json& summary) {
  const json data = summary.value("data", json());
  return data.is_string() && data.get<std::string>().starts_with("synthetic") ? " on synthetic images" : " on CIFAR-10";
}

}  // namespace

json page_head(const json& summary) {
  struct Number {
    const char* name;
    double least, most;
  };
  constexpr Number numbers[] = {{"fp32_accuracy", 0, 1},    {"int8_accuracy", 0, 1},      {"accuracy_drop", -100, 100},
                                {"agreement", 0, 1},        {"changed_labels", 0, 1e15},  {"mcnemar_p", 0, 1},
                                {"test_images", 0, 1e15},   {"fp32_file_bytes", 0, 1e15}, {"int8_file_bytes", 0, 1e15},
                                {"size_ratio", 0, DBL_MAX}, {"peak_rss_mib", 0, DBL_MAX}, {"int8_mac_coverage", 0, 1},
                                {"fp32_loss", -1, DBL_MAX}, {"int8_loss", -1, DBL_MAX}};
  json head = json::object(), about = json::array(), others = summary;
  for (const Number& n : numbers) {
    if (const auto v = number_if_at(summary, n.name, n.least, n.most)) head[n.name] = *v;
    others.erase(n.name);
  }
  for (const char* shown : {"network", "layers", "latency_ms", "speedup"}) others.erase(shown);
  add_about(about, "", others);
  head["about"] = about;
  return head;
}

std::string page(const Results& r) {
  const std::string_view text = embedded::report_page, mark = "{{data}}";
  const size_t data =
      text.find(mark);  // texts of the folder may look like marks: they are looked for in the page alone
  return replaced(std::string(text.substr(0, data)), "{{title}}", escaped(network_of(r.summary) + data_of(r.summary))) +
         in_script(page_data(r)) + std::string(text.substr(data + mark.size()));
}

}  // namespace cifar_resnet
