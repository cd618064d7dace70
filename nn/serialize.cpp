#include "nn/serialize.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/integers.h"
#include "ops/layout.h"

namespace mininn::nn {

namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr DTypeName kDTypes[] = {{DType::f32, "F32"}, {DType::f64, "F64"}, {DType::bf16, "BF16"}, {DType::i8, "I8"},
                                 {DType::u8, "U8"},   {DType::i32, "I32"}, {DType::i64, "I64"}};

std::string_view file_name(DType t) {
  for (const auto& d : kDTypes)
    if (d.dtype == t) return d.name;
  throw DTypeError(message("safetensors: ", name(t), " has no name in the file format"));
}

// --- reading ---

struct Entry {
  std::string name;
  std::optional<DType> dtype = {};
  std::optional<Shape> shape = {};
  uint64_t begin = 0, end = 0;
  bool has_offsets = false;
};

std::string called(const std::string& tensor) { return message("tensor \"", excerpt(tensor), '"'); }

// Takes exactly the JSON that a header may be and nothing else, event by event: no tree is built, nesting is at most
// three levels, and repeated keys are seen (a parsed tree would hide them).
class Header final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;
  std::string problem;

  bool start_object(size_t) override {
    switch (where_) {
      case Where::start: where_ = Where::top; return true;
      case Where::top_value:
        where_ = key_ == "__metadata__" ? Where::metadata : Where::entry;
        if (where_ == Where::entry) entries.push_back({.name = key_});
        return true;
      default: return fail("an object where none may be");
    }
  }
  bool key(std::string& k) override {
    key_ = k;
    switch (where_) {
      case Where::top:
        if (!names_.insert(k).second) return fail(message('"', excerpt(k), "\" occurs twice"));
        where_ = Where::top_value;
        return true;
      case Where::metadata:
        if (metadata.contains(k)) return fail(message("__metadata__ has \"", excerpt(k), "\" twice"));
        where_ = Where::metadata_value;
        return true;
      case Where::entry:
        if (k == "dtype" && !entry().dtype) return where_ = Where::dtype, true;
        if (k == "shape" && !entry().shape) return where_ = Where::shape, true;
        if (k == "data_offsets" && !entry().has_offsets) return where_ = Where::offsets, true;
        return fail(tensor() + " has an unknown or repeated key \"" + excerpt(k) + "\"");
      default: return fail("a key where none may be");
    }
  }
  bool end_object() override {
    switch (where_) {
      case Where::metadata: where_ = Where::top; return true;
      case Where::top: where_ = Where::done; return true;
      case Where::entry:
        if (!entry().dtype || !entry().shape || !entry().has_offsets)
          return fail(tensor() + " lacks dtype, shape or data_offsets");
        where_ = Where::top;
        return true;
      default: return fail("an object ends where none may");
    }
  }
  bool string(std::string& s) override {
    if (where_ == Where::metadata_value) {
      metadata[key_] = s;
      where_ = Where::metadata;
      return true;
    }
    if (where_ != Where::dtype) return fail("a string where none may be");
    for (const auto& d : kDTypes)
      if (d.name == s) entry().dtype = d.dtype;
    if (!entry().dtype) return fail(tensor() + " has the unsupported dtype \"" + excerpt(s) + "\"");
    where_ = Where::entry;
    return true;
  }
  bool start_array(size_t) override {
    if (where_ != Where::shape && where_ != Where::offsets) return fail("an array where none may be");
    where_ = where_ == Where::shape ? Where::shape_values : Where::offset_values;
    numbers_.clear();
    return true;
  }
  bool number_unsigned(uint64_t v) override {
    if (where_ != Where::shape_values && where_ != Where::offset_values) return fail("a number where none may be");
    if (v > uint64_t(std::numeric_limits<int64_t>::max())) return fail("a number is too large");
    if (numbers_.size() == kMaxRank) return fail(message(tensor(), " has a list of more than ", kMaxRank, " numbers"));
    numbers_.push_back(int64_t(v));
    return true;
  }
  bool end_array() override {
    if (where_ == Where::shape_values) {
      entry().shape = Shape(numbers_);
    } else {
      if (numbers_.size() != 2) return fail(tensor() + " has not two data_offsets");
      entry().begin = uint64_t(numbers_[0]);
      entry().end = uint64_t(numbers_[1]);
      entry().has_offsets = true;
    }
    where_ = Where::entry;
    return true;
  }
  bool null() override { return fail("null where none may be"); }
  bool boolean(bool) override { return fail("a boolean where none may be"); }
  bool number_integer(int64_t) override { return fail("a negative number"); }
  bool number_float(double, const std::string&) override { return fail("a number that is not an integer"); }
  bool binary(nlohmann::json::binary_t&) override { return fail("binary data"); }
  bool parse_error(size_t at, const std::string&, const nlohmann::json::exception&) override {
    return fail(message("no valid JSON at byte ", 8 + (at ? at - 1 : 0)));
  }

 private:
  enum class Where {
    start,
    top,
    top_value,
    metadata,
    metadata_value,
    entry,
    dtype,
    shape,
    shape_values,
    offsets,
    offset_values,
    done
  };

  Entry& entry() { return entries.back(); }
  std::string tensor() { return called(entry().name); }
  bool fail(std::string what) {
    problem = std::move(what);
    return false;
  }

  Where where_ = Where::start;
  std::string key_;
  std::set<std::string> names_;
  std::vector<int64_t> numbers_;
};

[[noreturn]] void bad_file(const fs::path& path, const std::string& what) {
  throw FileError(message("safetensors file ", path.string(), ": ", what));
}

// Size in bytes, or no value if it does not fit.
std::optional<uint64_t> byte_size(const Shape& shape, DType dtype) {
  try {
    const uint64_t n = uint64_t(numel(shape)), size = size_of(dtype);
    if (n <= std::numeric_limits<uint64_t>::max() / size) return n * size;
  } catch (const ShapeError&) {
  }
  return std::nullopt;
}

}  // namespace

Tensor stored(const Tensor& t) { return detail::dense(t.detach().to(Device::cpu())); }

bool nested_deeper(std::string_view json, int depth) {
  int open = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      i += c == '\\';  // what is escaped means nothing
    } else if (c == '[' || c == '{') {
      if (++open > depth) return true;
    } else if (c == ']' || c == '}') {
      --open;
    }
  }
  return false;
}

SafeTensors SafeTensors::read(const fs::path& path) {
  const File in = open_regular_file(path);
  const uint64_t file_size = mininn::file_size(in.get());
  const auto take = [&](void* to, uint64_t bytes) { return std::fread(to, 1, size_t(bytes), in.get()) == bytes; };

  uint64_t header_size = 0;
  if (file_size < 8 || !take(&header_size, 8))
    bad_file(path, message("has ", file_size, " bytes, fewer than the 8 of the header's size"));
  if (header_size > file_size - 8 || header_size > kMaxHeader)
    bad_file(path, message("byte 0: the header's size ", header_size, " is beyond the file's end at ", file_size,
                           " or the limit of ", kMaxHeader));
  std::string text(header_size, '\0');
  if (!take(text.data(), header_size)) bad_file(path, "cannot read the header");
  if (const size_t zero = text.find('\0'); zero != text.npos)  // the parser would take it for the end
    bad_file(path, message("byte ", 8 + zero, ": the header has a zero byte"));
  Header header;
  if (!nlohmann::json::sax_parse(text, &header)) bad_file(path, "bad header: " + header.problem);

  // In the order of their bytes, tensors must cover the rest of the file exactly.
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const uint64_t data_begin = 8 + header_size, data_size = file_size - data_begin;
  uint64_t position = 0;
  for (const Entry& e : header.entries) {
    const std::string tensor = called(e.name);
    if (e.begin != position || e.end < e.begin || e.end > data_size)
      bad_file(path, message(tensor, " has the offsets [", e.begin, ",", e.end, "), expected to begin at ", position,
                             " and to end by ", data_size));
    if (byte_size(*e.shape, *e.dtype) != e.end - e.begin)
      bad_file(path, message(tensor, " is ", name(*e.dtype), *e.shape, " but has ", e.end - e.begin, " bytes"));
    position = e.end;
  }
  if (position != data_size)
    bad_file(path, message("byte ", data_begin + position, ": ", data_size - position, " bytes belong to no tensor"));

  SafeTensors out;
  out.metadata = std::move(header.metadata);
  for (Entry& e : header.entries) {
    Tensor t = Tensor::empty(*e.shape, *e.dtype);
    if (e.end > e.begin && !take(t.mutable_view().data, e.end - e.begin))
      bad_file(path, message("cannot read ", called(e.name), " at byte ", data_begin + e.begin));
    out.tensors.emplace_back(std::move(e.name), std::move(t));
  }
  return out;
}

void SafeTensors::write(const fs::path& path) const {
  // Like the reference implementation: wide dtypes first, so every tensor is aligned to its element, then by name.
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    const size_t sa = size_of(a->second.dtype()), sb = size_of(b->second.dtype());
    return sa != sb ? sa > sb : a->first < b->first;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t position = 0;
  std::set<std::string_view> names{"__metadata__"};
  for (const auto* entry : order) {
    const auto& [name, t] = *entry;
    if (!names.insert(name).second) bad_file(path, message("two tensors are called \"", name, "\""));
    const uint64_t bytes = uint64_t(t.numel()) * size_of(t.dtype());
    header[name] = {{"dtype", file_name(t.dtype())},
                    {"shape", std::vector<int64_t>(t.shape().begin(), t.shape().end())},
                    {"data_offsets", {position, position + bytes}}};
    position += bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& e) {
    bad_file(path, message("a name or a metadata text is not UTF-8 (", e.what(), ")"));
  }
  text.resize(round_up(text.size(), 8), ' ');
  if (text.size() > kMaxHeader) bad_file(path, message("the header would have ", text.size(), " bytes"));

  AtomicFile out(path);
  const uint64_t header_size = text.size();
  out.write(&header_size, 8);
  out.write(text.data(), text.size());
  for (const auto* entry : order) {
    const Tensor t = stored(entry->second);
    out.write(t.view().data, size_t(t.numel()) * size_of(t.dtype()));
  }
  out.commit();
}

Tensor SafeTensors::find(std::string_view name) const {
  for (const auto& [n, t] : tensors)
    if (n == name) return t;
  return {};
}

std::vector<std::pair<std::string, Tensor>> SafeTensors::extract(std::string_view prefix) {
  std::vector<std::pair<std::string, Tensor>> out, rest;
  for (auto& [name, t] : tensors) {
    if (name.starts_with(prefix))
      out.emplace_back(name.substr(prefix.size()), std::move(t));
    else
      rest.emplace_back(std::move(name), std::move(t));
  }
  tensors = std::move(rest);
  return out;
}

void save_safetensors(const fs::path& path, const ParamStore& params, std::map<std::string, std::string> metadata,
                      const SaveOptions& o) {
  if (o.weights != DType::f32 && o.weights != DType::bf16)
    throw DTypeError(message("save_safetensors: weights may be stored as f32 or bf16, not as ", name(o.weights)));
  SafeTensors file{.metadata = std::move(metadata), .tensors = {}};
  for (const Tensor& t : params.all()) {
    Tensor kept = t;
    if (t.dtype() == DType::f32 && t.rank() > 1 && o.weights != t.dtype()) {
      kept = Tensor::empty(t.shape(), o.weights);
      kept.copy_from(t);
    }
    file.tensors.emplace_back(t.name(), kept);
  }
  file.write(path);
}

void load_safetensors(const fs::path& path, ParamStore& params, const LoadOptions& o) {
  load_parameters(SafeTensors::read(path), params, o, path.string());
}

namespace {

// What keeps a tensor of a file from becoming a parameter of this name, shape and dtype; empty if nothing does.
std::string misfit(const Tensor& t, std::string_view parameter, const Shape& shape, DType dtype) {
  if (!t) return message("missing: ", parameter);
  const bool convertible = t.dtype() == dtype || (is_floating(t.dtype()) && is_floating(dtype));
  if (t.shape() == shape && convertible) return {};
  return message(parameter, " is ", name(t.dtype()), t.shape(), ", the network needs ", name(dtype), shape);
}

// A sentence with the first few problems.
[[noreturn]] void fail_to_fit(std::string_view source, const std::vector<std::string>& problems) {
  constexpr size_t kShown = 4;
  std::string text = message(source, " does not fit the network");
  for (size_t i = 0; i < std::min(problems.size(), kShown); ++i) text += (i == 0 ? ": " : "; ") + problems[i];
  if (problems.size() > kShown) text += message("; and ", problems.size() - kShown, " more");
  throw FileError(text);
}

}  // namespace

ParamStore::Source values_of(const SafeTensors& file, std::string source) {
  std::map<std::string, Tensor, std::less<>> found(file.tensors.begin(), file.tensors.end());
  return [found = std::move(found), source = std::move(source)](const std::string& path, const Shape& shape, DType t) {
    const auto it = found.find(path);
    const Tensor value = it == found.end() ? Tensor() : it->second;
    if (const std::string problem = misfit(value, path, shape, t); !problem.empty()) fail_to_fit(source, {problem});
    return value;
  };
}

void load_parameters(const SafeTensors& file, ParamStore& params, const LoadOptions& o, std::string_view source) {
  std::vector<std::string> problems;
  std::map<std::string_view, const Tensor*> found;
  for (const auto& [name, t] : file.tensors) {
    found[name] = &t;
    if (o.strict && !params.find(name)) problems.push_back(message("unexpected: ", excerpt(name)));
  }
  for (const Tensor& p : params.all()) {
    const auto it = found.find(p.name());
    if (it == found.end() && !o.strict) continue;
    std::string problem = misfit(it == found.end() ? Tensor() : *it->second, p.name(), p.shape(), p.dtype());
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  if (!problems.empty()) fail_to_fit(source, problems);
  for (Tensor p : params.all())
    if (const auto it = found.find(p.name()); it != found.end()) p.copy_from(*it->second);
}

}  // namespace mininn::nn
