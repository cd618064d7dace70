#include "quant/int8_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "core/sha256.h"
#include "quant/int8_net.h"
#include "quant/overloaded.h"

namespace mininn::quant {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "mininn.int8";
constexpr const char* kVersion = "1";
constexpr size_t kMaxJson = 4 << 20;  // in memory it takes thirty times as much
constexpr int kMaxDepth = 8;

// --- writing ---

json to_json(Hw v) { return {v.h, v.w}; }
json to_json(const QPoolWindow& w) {
  return {{"kernel", to_json(w.kernel)}, {"stride", to_json(w.stride)}, {"padding", to_json(w.padding)}};
}

json to_json(const Int8Value& v) {
  const char* kind = v.kind == Int8Value::Kind::codes ? "codes" : v.kind == Int8Value::Kind::sums ? "sums" : "real";
  return {{"name", v.name},
          {"kind", kind},
          {"c", v.c},
          {"h", v.h},
          {"w", v.w},
          {"scale", v.q.scale},
          {"zero_point", v.q.zero_point}};
}

// A step's JSON, with its tensors going to `tensors`.
json to_json(const Int8Step& s, std::vector<std::pair<std::string, Tensor>>& tensors) {
  json j{{"name", s.name}, {"op", s.op}, {"inputs", s.inputs}, {"output", s.output}};
  const auto put = [&](const char* what, const Tensor& t) { tensors.emplace_back(s.name + "." + what, t); };
  const auto put_weights = [&](const auto& l) {
    put("weight", l.weight);
    put("weight_scale", l.weight_scale);
    put("bias", l.bias);
  };
  std::visit(Overloaded{[&](const Int8Conv& c) {
                          j["kind"] = "conv";
                          j["stride"] = to_json(c.options.stride);
                          j["padding"] = to_json(c.options.padding);
                          j["dilation"] = to_json(c.options.dilation);
                          j["groups"] = c.options.groups;
                          j["clamp"] = {c.lo, c.hi};
                          put_weights(c);
                        },
                        [&](const Int8Linear& l) {
                          j["kind"] = "linear";
                          put_weights(l);
                        },
                        [&](const Int8MaxPool& p) {
                          j["kind"] = "max_pool";
                          j["window"] = to_json(p.window);
                        },
                        [&](const Int8AvgPool& p) {
                          j["kind"] = "avg_pool";
                          j["window"] = to_json(p.window);
                          j["count_include_pad"] = p.count_include_pad;
                        },
                        [&](const Int8GlobalSum&) { j["kind"] = "global_sum"; },
                        [&](const Int8Lut& l) {
                          j["kind"] = "lut";
                          put("table", l.table);
                        },
                        [&](const Int8Add& a) {
                          j["kind"] = "add";
                          j["clamp"] = {a.lo, a.hi};
                        },
                        [&](const Int8Mul& m) {
                          j["kind"] = "mul";
                          j["clamp"] = {m.lo, m.hi};
                        },
                        [&](const Int8Cat&) { j["kind"] = "cat"; },
                        [&](const RealUnary& u) {
                          j["kind"] = "unary";
                          j["function"] = u.op;
                          j["value"] = u.value;
                        }},
             s.body);
  return j;
}

// --- reading: every accessor throws ValueError naming what it wanted ---

const json& at(const json& j, const char* key) {
  if (!j.is_object() || !j.contains(key)) throw ValueError(message("'", key, "' is missing"));
  return j[key];
}

int64_t integer(const json& j, const char* what) {
  if (j.is_number_unsigned() && j.get<uint64_t>() <= uint64_t(INT64_MAX)) return int64_t(j.get<uint64_t>());
  if (j.is_number_integer() && !j.is_number_unsigned()) return j.get<int64_t>();
  throw ValueError(message("'", what, "' is no integer"));
}
int64_t integer_at(const json& j, const char* key) { return integer(at(j, key), key); }

// An integer that must fit an int; what it may be is for Int8Model::validate() to say.
int small(const json& j, const char* what) {
  const int64_t v = integer(j, what);
  if (v < INT32_MIN || v > INT32_MAX) throw ValueError(message("'", what, "' is ", v));
  return int(v);
}

double number(const json& j, const char* what) {
  if (!j.is_number()) throw ValueError(message("'", what, "' is no number"));
  return j.get<double>();
}
float real(const json& j, const char* what) {
  const double v = number(j, what);
  if (std::abs(v) > double(std::numeric_limits<float>::max())) throw ValueError(message("'", what, "' is ", v));
  return float(v);
}

std::string text_at(const json& j, const char* key) {
  const json& v = at(j, key);
  if (!v.is_string()) throw ValueError(message("'", excerpt(key), "' is no text"));
  return v.get<std::string>();
}

bool flag_at(const json& j, const char* key) {
  const json& v = at(j, key);
  if (!v.is_boolean()) throw ValueError(message("'", key, "' is neither true nor false"));
  return v.get<bool>();
}

const json& array_at(const json& j, const char* key, size_t size = SIZE_MAX) {
  const json& v = at(j, key);
  if (!v.is_array() || (size != SIZE_MAX && v.size() != size))
    throw ValueError(message("'", key, "' is no list", size == SIZE_MAX ? "" : message(" of ", size)));
  return v;
}

Hw pair_at(const json& j, const char* key) {
  const json& v = array_at(j, key, 2);
  return {integer(v[0], key), integer(v[1], key)};
}

QPoolWindow window_at(const json& j, const char* key) {
  const json& w = at(j, key);
  return {pair_at(w, "kernel"), pair_at(w, "stride"), pair_at(w, "padding")};
}

std::vector<float> reals_at(const json& j, const char* key) {
  std::vector<float> out;
  for (const json& v : array_at(j, key)) out.push_back(real(v, key));
  return out;
}

Int8Value read_value(const json& j) {
  Int8Value v;
  v.name = text_at(j, "name");
  const std::string kind = text_at(j, "kind");
  if (kind == "codes")
    v.kind = Int8Value::Kind::codes;
  else if (kind == "sums")
    v.kind = Int8Value::Kind::sums;
  else if (kind == "real")
    v.kind = Int8Value::Kind::real;
  else
    throw ValueError(message("value ", excerpt(v.name), " is of unknown kind '", excerpt(kind), "'"));
  v.c = integer_at(j, "c");
  v.h = integer_at(j, "h");
  v.w = integer_at(j, "w");
  v.q = {real(at(j, "scale"), "scale"), small(at(j, "zero_point"), "zero_point")};
  return v;
}

class StepReader {
 public:
  explicit StepReader(const nn::SafeTensors& file) : tensors_(file.tensors.begin(), file.tensors.end()) {}

  Int8Step read(const json& j) {
    Int8Step s;
    s.name = text_at(j, "name");
    s.op = text_at(j, "op");
    for (const json& v : array_at(j, "inputs")) s.inputs.push_back(small(v, "inputs"));
    s.output = small(at(j, "output"), "output");
    const std::string kind = text_at(j, "kind");
    if (kind == "conv") {
      Int8Conv c;
      c.options = {pair_at(j, "stride"), pair_at(j, "padding"), pair_at(j, "dilation"), integer_at(j, "groups")};
      std::tie(c.lo, c.hi) = clamp(j);
      read_weights(s, c);
      s.body = std::move(c);
    } else if (kind == "linear") {
      Int8Linear l;
      read_weights(s, l);
      s.body = std::move(l);
    } else if (kind == "max_pool") {
      s.body = Int8MaxPool{window_at(j, "window")};
    } else if (kind == "avg_pool") {
      s.body = Int8AvgPool{window_at(j, "window"), flag_at(j, "count_include_pad")};
    } else if (kind == "global_sum") {
      s.body = Int8GlobalSum{};
    } else if (kind == "lut") {
      s.body = Int8Lut{tensor(s, "table")};
    } else if (kind == "add") {
      Int8Add a;
      std::tie(a.lo, a.hi) = clamp(j);
      s.body = a;
    } else if (kind == "mul") {
      Int8Mul m;
      std::tie(m.lo, m.hi) = clamp(j);
      s.body = m;
    } else if (kind == "cat") {
      s.body = Int8Cat{};
    } else if (kind == "unary") {
      s.body = RealUnary{text_at(j, "function"), number(at(j, "value"), "value")};
    } else {
      throw ValueError(message("step ", excerpt(s.name), " is of unknown kind '", excerpt(kind), "'"));
    }
    return s;
  }

  size_t tensors_used() const { return used_; }

 private:
  static std::pair<int, int> clamp(const json& j) {
    const json& v = array_at(j, "clamp", 2);
    return {small(v[0], "clamp"), small(v[1], "clamp")};
  }
  Tensor tensor(const Int8Step& s, const char* what) {
    const std::string name = s.name + "." + what;
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw ValueError(message("tensor ", excerpt(name), " is missing"));
    ++used_;
    return found->second;
  }
  void read_weights(const Int8Step& s, auto& layer) {
    layer.weight = tensor(s, "weight");
    layer.weight_scale = tensor(s, "weight_scale");
    layer.bias = tensor(s, "bias");
  }

  std::unordered_map<std::string, Tensor> tensors_;
  size_t used_ = 0;
};

Int8Model read_model(const nn::SafeTensors& file, const std::string& network) {
  if (network.size() > kMaxJson) throw ValueError("the network's description is too long");
  if (nn::nested_deeper(network, kMaxDepth)) throw ValueError("the network's description is nested too deeply");
  const json j = json::parse(network);
  Int8Model m;
  for (const json& v : array_at(j, "values")) m.values.push_back(read_value(v));
  StepReader reader(file);
  for (const json& s : array_at(j, "steps")) m.steps.push_back(reader.read(s));
  if (reader.tensors_used() != file.tensors.size()) throw ValueError("it holds tensors that no step uses");
  m.output = small(at(j, "output"), "output");
  m.flat_input = flag_at(j, "flat_input");
  m.flat_output = flag_at(j, "flat_output");
  m.graph_macs = integer_at(j, "graph_macs");
  if (const json& n = at(j, "normalization"); !n.is_null())
    m.normalization = ImageNormalization{reals_at(n, "mean"), reals_at(n, "std")};
  const json& calibration = at(j, "calibration");
  if (!calibration.is_object()) throw ValueError("'calibration' is no object");
  for (const auto& [key, value] : calibration.items()) m.calibration[key] = text_at(calibration, key.c_str());
  m.validate();
  return m;
}

}  // namespace

std::string int8_content_hash(const nn::SafeTensors& file) {
  auto tensors = file.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Sha256 hash;
  if (const auto it = file.metadata.find("network"); it != file.metadata.end())
    hash.update(it->second.data(), it->second.size());
  for (const auto& [name, t] : tensors) {
    if (!t) throw ValueError(message("int8 file: tensor ", excerpt(name), " is undefined"));
    const Tensor bytes = nn::stored(t);
    hash.update(name.c_str(), name.size() + 1).update(bytes.view().data, size_t(t.numel()) * size_of(t.dtype()));
  }
  return hash.hex();
}

void save_int8(const std::filesystem::path& path, const Int8Model& m) {
  const auto fail = [&](const auto&... why) { throw FileError(message("int8 file ", path.string(), ": ", why...)); };
  try {
    m.validate();  // or nobody could load it
  } catch (const Error& e) {
    fail(e.what());
  }
  nn::SafeTensors file;
  json steps = json::array(), values = json::array();
  for (const Int8Value& v : m.values) values.push_back(to_json(v));
  for (const Int8Step& s : m.steps) steps.push_back(to_json(s, file.tensors));
  json j{{"values", values},
         {"steps", steps},
         {"output", m.output},
         {"flat_input", m.flat_input},
         {"flat_output", m.flat_output},
         {"graph_macs", m.graph_macs},
         {"normalization", nullptr},
         {"calibration", json(m.calibration)}};
  if (m.normalization) j["normalization"] = {{"mean", m.normalization->mean}, {"std", m.normalization->std}};
  const std::string network = j.dump();
  if (network.size() > kMaxJson)
    fail("the network's description, notes included, would have ", network.size(), " bytes, more than ", kMaxJson);
  file.metadata = {{"format", kFormat}, {"format_version", kVersion}, {"network", network}};
  file.metadata["sha256"] = int8_content_hash(file);
  file.write(path);
}

Int8Model load_int8(const std::filesystem::path& path) {
  const nn::SafeTensors file = nn::SafeTensors::read(path);
  const auto text = [&](const char* key) {
    const auto it = file.metadata.find(key);
    return it == file.metadata.end() ? std::string() : it->second;
  };
  const auto fail = [&](const std::string& why) -> FileError {
    return FileError(message("int8 file ", path.string(), ": ", why));
  };
  if (text("format") != kFormat)
    throw fail("it is no int8 network (metadata 'format' is '" + excerpt(text("format")) + "')");
  if (text("format_version") != kVersion)
    throw fail("format version '" + excerpt(text("format_version")) + "' is unknown, this is version " + kVersion);
  if (text("sha256") != int8_content_hash(file)) throw fail("its content does not match its sha256");
  try {
    return read_model(file, text("network"));
  } catch (const json::parse_error& e) {
    throw fail(message("metadata 'network' is no valid JSON at byte ", e.byte));
  } catch (const json::exception&) {
    throw fail("metadata 'network' holds a number that is too large");
  } catch (const Error& e) {
    throw fail(e.what());
  }
}

bool is_int8(const nn::SafeTensors& file) {
  const auto it = file.metadata.find("format");
  return it != file.metadata.end() && it->second == kFormat;
}

bool is_int8_file(const std::filesystem::path& path) { return is_int8(nn::SafeTensors::read(path)); }

std::vector<FileItem> int8_file_items(const std::filesystem::path& path) {
  const nn::SafeTensors file = nn::SafeTensors::read(path);
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
  } catch (const ShapeError& e) {  // the ops' own checks: also the file's fault
    throw FileError(message("int8 file ", path.string(), ": ", e.what()));
  } catch (const ValueError& e) {
    throw FileError(message("int8 file ", path.string(), ": ", e.what()));
  }
}

}  // namespace mininn::quant
