#include "nn/graph/graph_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/sha256.h"
#include "nn/json_fields.h"
#include "ops/registry.h"

namespace mininn::nn::graph {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "mininn.graph";
constexpr const char* kVersion = "1";
constexpr size_t kMaxInputs = 1 << 16;  // of all nodes together

// --- writing ---

json to_json(const Node& n, const Attr& a) {
  if (const auto* i = std::get_if<int64_t>(&a.value)) return *i;
  if (const auto* list = std::get_if<std::vector<int64_t>>(&a.value)) return *list;
  const double number = std::get<double>(a.value);
  if (!std::isfinite(number))
    throw ValueError(message("node ", n.name, ": attribute '", a.name, "' is ", number, ", which no file holds"));
  return number;
}

class Writer {
 public:
  Writer(const Graph& g, SafeTensors& file) : g_(g), file_(file), number_(g.values.size(), kAbsent) {}

  json write() {
    json inputs = json::array(), constants = json::array(), nodes = json::array();
    for (const int id : g_.inputs) {
      const Value& v = value(id);
      if (v.qparams) throw ValueError(message("input ", v.name, " is codes, which no file says what they stand for"));
      inputs.push_back({{"name", v.name}, {"dtype", name(v.dtype)}, {"shape", to_attr_list(v.shape)}});
      count(id);
    }
    for (size_t id = 0; id < g_.values.size(); ++id)
      if (g_.values[id].constant) {
        constants.push_back(add_tensor(g_.values[id]));
        count(int(id));
      }
    for (const Node& n : g_.nodes) {
      json attrs = json::object();
      for (const Attr& a : n.attrs) attrs[a.name] = to_json(n, a);
      nodes.push_back({{"op", n.op->name}, {"name", n.name}, {"inputs", numbers(n.inputs)}, {"attrs", attrs}});
      count(n.output);
    }
    return {{"inputs", inputs}, {"constants", constants}, {"nodes", nodes}, {"outputs", numbers(g_.outputs)}};
  }

 private:
  static std::vector<int64_t> to_attr_list(const Shape& s) { return {s.begin(), s.end()}; }

  const Value& value(int id) const { return g_.values[size_t(id)]; }
  void count(int id) { number_[size_t(id)] = counted_++; }
  std::vector<int> numbers(const std::vector<int>& ids) const {
    std::vector<int> out;
    for (const int id : ids) out.push_back(id == kAbsent ? kAbsent : number_[size_t(id)]);
    return out;
  }

  // Returns the name it has in the file.
  std::string add_tensor(const Value& v) {
    if (v.qparams) throw ValueError(message("constant ", v.name, " is codes, which no file says what they stand for"));
    std::string name = v.name.empty() ? "constant" : v.name;
    while (!names_.insert(name).second) name += '\'';
    file_.tensors.emplace_back(name, v.constant);
    return name;
  }

  const Graph& g_;
  SafeTensors& file_;
  std::vector<int> number_;  // of each value
  int counted_ = 0;
  std::unordered_set<std::string> names_;
};

// --- reading ---

AttrValue attr_value(const json& j, const char* key) {
  if (j.is_array()) {
    std::vector<int64_t> list;
    for (const json& v : j) list.push_back(integer(v, key));
    return list;
  }
  if (j.is_number_float()) return j.get<double>();
  return integer(j, key);
}

class Reader {
 public:
  explicit Reader(const SafeTensors& file) : tensors_(file.tensors.begin(), file.tensors.end()) {}

  Graph read(const json& j) {
    for (const json& v : array_at(j, "inputs")) {
      const std::string dtype = text_at(v, "dtype");
      const auto known = std::ranges::find(kDTypes, dtype, [](DType d) { return name(d); });
      if (known == std::end(kDTypes)) throw ValueError(message("there is no dtype '", excerpt(dtype), "'"));
      Shape shape;
      if (!from_attr(integers_at(v, "shape"), shape)) throw ValueError("'shape' has too many sizes");
      for (const int64_t size : shape)
        if (size < 0) throw ValueError(message("'shape' has a size of ", size));
      numel(shape);
      g_.inputs.push_back(g_.add_value({.name = text_at(v, "name"), .shape = shape, .dtype = *known, .constant = {}}));
    }
    for (const json& v : array_at(j, "constants")) {
      const std::string name = text(v, "constants");
      auto tensor = tensors_.extract(name);
      if (!tensor) throw ValueError(message("tensor ", excerpt(name), " is missing"));
      g_.add_constant(name, tensor.mapped());
    }
    if (!tensors_.empty()) throw ValueError(message("nothing uses tensor ", excerpt(tensors_.begin()->first)));
    for (const json& n : array_at(j, "nodes")) read_node(n);
    for (const json& v : array_at(j, "outputs")) g_.outputs.push_back(small_integer(v, "outputs"));
    g_.validate();
    return std::move(g_);
  }

 private:
  void read_node(const json& j) {
    std::string name = text_at(j, "name");
    const std::string op = text_at(j, "op");
    const OpDef* const def = find_op(op);
    const auto fail = [&](const auto&... why) {
      throw ValueError(message("node ", excerpt(name), " (", excerpt(op), "): ", why...));
    };
    if (!def) fail("this program has no such op");
    std::vector<int> inputs;
    inputs_ += array_at(j, "inputs").size();
    if (inputs_ > kMaxInputs) fail("the nodes have more than ", kMaxInputs, " inputs together");
    for (const json& v : array_at(j, "inputs")) {
      inputs.push_back(small_integer(v, "inputs"));
      if (inputs.back() < kAbsent || inputs.back() >= int(g_.values.size()))
        fail("it reads value ", inputs.back(), ", which nothing made before");
      if (inputs.back() == kAbsent && !def->inputs.may_lack(inputs.size() - 1)) fail("it lacks an input");
    }
    if (inputs.size() < def->inputs.least || inputs.size() > def->inputs.most)
      fail("it has ", inputs.size(), " inputs");
    Attrs attrs;
    for (const auto& [key, value] : object_at(j, "attrs").items())
      attrs.push_back({key, attr_value(value, key.c_str())});
    try {
      g_.add_node(*def, name, std::move(inputs), std::move(attrs));
    } catch (const Error& e) {
      fail(e.what());
    }
  }

  std::unordered_map<std::string, Tensor> tensors_;  // that no constant has taken
  size_t inputs_ = 0;                                // of the nodes so far
  Graph g_;
};

}  // namespace

const std::string& metadata_text(const SafeTensors& file, const char* key) {
  static const std::string none;
  const auto it = file.metadata.find(key);
  return it == file.metadata.end() ? none : it->second;
}

void put_graph(SafeTensors& file, const Graph& g) {
  g.validate();
  file.metadata["graph"] = json_text("the graph", Writer(g, file).write());
}

Graph get_graph(const SafeTensors& file) {
  return Reader(file).read(parse_json("metadata 'graph'", metadata_text(file, "graph")));
}

std::string content_hash(const SafeTensors& file) {
  auto tensors = file.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Sha256 hash;
  if (const std::string& graph = metadata_text(file, "graph"); !graph.empty())
    hash.update(graph.c_str(), graph.size() + 1);
  hash.update(metadata_text(file, "network").data(), metadata_text(file, "network").size());
  for (const auto& [name, t] : tensors) {
    if (!t) throw ValueError(message("tensor ", excerpt(name), " is undefined"));
    const Tensor bytes = stored(t);
    hash.update(name.c_str(), name.size() + 1).update(bytes.view().data, size_t(t.numel()) * size_of(t.dtype()));
  }
  return hash.hex();
}

void seal(SafeTensors& file, std::string format, std::string version) {
  file.metadata["format"] = std::move(format);
  file.metadata["format_version"] = std::move(version);
  file.metadata["sha256"] = content_hash(file);
}

std::string check_format(const SafeTensors& file, const std::filesystem::path& path, const char* what,
                         std::string_view format, std::initializer_list<std::string_view> versions) {
  const auto fail = [&](const auto&... why) { throw FileError(message(what, " file ", path.string(), ": ", why...)); };
  const std::string &of = metadata_text(file, "format"), &version = metadata_text(file, "format_version");
  if (of != format) fail("it is no ", what, " file (metadata 'format' is '", excerpt(of), "', not '", format, "')");
  if (std::ranges::find(versions, version) == versions.end())
    fail("format version '", excerpt(version), "' is unknown, this program knows up to ", *(versions.end() - 1));
  if (metadata_text(file, "sha256") != content_hash(file)) fail("its content does not match its sha256");
  return version;
}

void save_graph(const std::filesystem::path& path, const Graph& g) {
  SafeTensors file;
  try {
    put_graph(file, g);
  } catch (const Error& e) {
    throw FileError(message("graph file ", path.string(), ": ", e.what()));
  }
  seal(file, kFormat, kVersion);
  file.write(path);
}

Graph load_graph(const std::filesystem::path& path) {
  const SafeTensors file = SafeTensors::read(path);
  check_format(file, path, "graph", kFormat, {kVersion});
  try {
    return get_graph(file);
  } catch (const Error& e) {
    throw FileError(message("graph file ", path.string(), ": ", e.what()));
  }
}

}  // namespace mininn::nn::graph
