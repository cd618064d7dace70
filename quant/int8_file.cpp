#include "quant/int8_file.h"

#include <nlohmann/json.hpp>

#include "nn/graph/graph_file.h"
#include "nn/json_fields.h"
#include "quant/int8_file_v1.h"
#include "quant/int8_net.h"

namespace mininn::quant {
namespace {

using namespace nn;
using nlohmann::json;

constexpr const char* kFormat = "mininn.int8";
constexpr const char *kVersion1 = "1", *kVersion2 = "2";
constexpr const char* kNetwork = "the network's description, notes included,";

json to_json(const Int8Model& m) {
  json layers = json::array(), normalization;
  for (const LayerNote& l : m.layers) {
    json note = json::object();
    if (!l.op.empty()) note["op"] = l.op;
    if (!l.in_float.empty()) note["in_float"] = l.in_float;
    layers.push_back(std::move(note));
  }
  if (m.normalization) normalization = {{"mean", m.normalization->mean}, {"std", m.normalization->std}};
  return {{"layers", layers},
          {"normalization", normalization},
          {"graph_macs", m.graph_macs},
          {"calibration", json(m.calibration)}};
}

std::vector<float> reals_at(const json& j, const char* key) {
  std::vector<float> out;
  for (const json& v : array_at(j, key)) out.push_back(real(v, key));
  return out;
}

Int8Model read_version_2(const SafeTensors& file) {
  Int8Model m;
  m.graph = nn::graph::get_graph(file);
  const json j = parse_json(kNetwork, nn::graph::metadata_text(file, "network"));
  for (const json& note : array_at(j, "layers")) {
    if (!note.is_object()) throw ValueError("'layers' holds what is no object");
    const auto text_of = [&](const char* key) { return note.contains(key) ? text_at(note, key) : std::string(); };
    m.layers.push_back({.op = text_of("op"), .in_float = text_of("in_float")});
  }
  if (const json& n = field_at(j, "normalization"); !n.is_null())
    m.normalization = ImageNormalization{reals_at(n, "mean"), reals_at(n, "std")};
  m.graph_macs = integer_at(j, "graph_macs");
  for (const auto& [key, note] : object_at(j, "calibration").items()) m.calibration[key] = text(note, key.c_str());
  return m;
}

}  // namespace

void save_int8(const std::filesystem::path& path, const Int8Model& m) {
  SafeTensors file;
  try {
    m.validate();  // or nobody could load it
    nn::graph::put_graph(file, m.graph);
    file.metadata["network"] = json_text(kNetwork, to_json(m));
  } catch (const Error& e) {
    throw FileError(message("int8 file ", path.string(), ": ", e.what()));
  }
  nn::graph::seal(file, kFormat, kVersion2);
  file.write(path);
}

Int8Model load_int8(const std::filesystem::path& path) {
  const SafeTensors file = SafeTensors::read(path);
  const std::string version = nn::graph::check_format(file, path, "int8", kFormat, {kVersion1, kVersion2});
  try {
    Int8Model m = version == kVersion1 ? read_version_1(file) : read_version_2(file);
    m.validate();
    return m;
  } catch (const Error& e) {
    throw FileError(message("int8 file ", path.string(), ": ", e.what()));
  }
}

bool is_int8(const SafeTensors& file) { return nn::graph::metadata_text(file, "format") == kFormat; }

bool is_int8_file(const std::filesystem::path& path) { return is_int8(SafeTensors::read(path)); }

std::vector<FileItem> int8_file_items(const std::filesystem::path& path) {
  const SafeTensors file = SafeTensors::read(path);
  std::vector<FileItem> items{{"header", int64_t(std::filesystem::file_size(path))}};  // less what tensors take of it
  for (const auto& [name, t] : file.tensors) {
    items.push_back({name, t.numel() * int64_t(size_of(t.dtype()))});
    items[0].bytes -= items.back().bytes;
  }
  return items;
}

void Int8Net::save(const std::filesystem::path& path) const { save_int8(path, *model_); }

Int8Net Int8Net::load(const std::filesystem::path& path, Int8NetOptions options) {
  check_settings(options);  // what is not the file's fault
  Int8Model model = load_int8(path);
  try {
    return Int8Net(std::move(model), options);
  } catch (const Error& e) {  // the ops' own checks: also the file's fault
    throw FileError(message("int8 file ", path.string(), ": ", e.what()));
  }
}

}  // namespace mininn::quant
