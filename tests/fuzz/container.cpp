#include "tests/fuzz/container.h"

#include <algorithm>
#include <cstring>

#include "nn/graph/graph_file.h"
#include "tests/fuzz/limits.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

using nlohmann::json;

namespace {

const std::map<std::string, size_t> kSizes{{"F32", 4}, {"F64", 8}, {"BF16", 2}, {"I8", 1},
                                           {"U8", 1},  {"I32", 4}, {"I64", 8}};

// The header and all behind it; no value if the file ends before.
std::optional<std::pair<std::string, std::string>> split(const std::string& file) {
  uint64_t size = 0;
  if (file.size() < 8) return {};
  std::memcpy(&size, file.data(), 8);
  if (size > file.size() - 8) return {};
  return std::pair(file.substr(8, size), file.substr(8 + size));
}

std::string join(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &size, 8);
  return out + header + data;
}

// Of an element; 0 if the dtype is none.
size_t width(const Container::Entry& e) {
  const auto at = e.dtype.is_string() ? kSizes.find(e.dtype) : kSizes.end();
  return at == kSizes.end() ? 0 : at->second;
}

// The bytes that a tensor needs; no value if they are too many for an input, or the dtype or the shape is none.
std::optional<size_t> bytes_of(const Container::Entry& e) {
  size_t bytes = width(e);
  if (bytes == 0 || !e.shape.is_array()) return {};
  for (const json& n : e.shape) {
    if (!n.is_number_integer() || n < 0 || n > kMaxInput) return {};
    bytes *= n.get<size_t>();
    if (bytes > kMaxInput) return {};
  }
  return bytes;
}

// As many bytes as the shape says, the old ones over and over.
void fit_bytes(Container::Entry& e) {
  const std::optional<size_t> bytes = bytes_of(e);
  if (!bytes) return;
  const std::string old = e.bytes.empty() ? "\1" : e.bytes;
  e.bytes.resize(*bytes);
  for (size_t i = 0; i < *bytes; ++i) e.bytes[i] = old[i % old.size()];
}

void mutate_elements(Container::Entry& e, Random& random) {
  const size_t n = width(e);
  if (n == 0 || e.bytes.size() < n) return;
  const double value = interesting_number(random).get<double>();
  std::string element(n, '\0');
  if (e.dtype == "F32") {
    const auto v = std::abs(value) < 3.4e38 ? float(value) : std::numeric_limits<float>::quiet_NaN();
    std::memcpy(element.data(), &v, 4);
  } else if (e.dtype == "F64") {
    std::memcpy(element.data(), &value, 8);
  } else {
    const int64_t v[] = {0, -1, 1, 127, -128, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, int64_t(random())};
    std::memcpy(element.data(), &pick(random, v), n);
  }
  const bool all = one_in(random, 3);
  const size_t at = all ? 0 : below(random, e.bytes.size() / n) * n;
  for (size_t i = at; i + n <= (all ? e.bytes.size() : at + n); i += n)
    std::memcpy(e.bytes.data() + i, element.data(), n);
}

void mutate_shape(Container::Entry& e, Random& random) {
  if (e.shape.is_array() && !e.shape.empty() && !one_in(random, 3)) {
    json& n = e.shape[below(random, e.shape.size())];
    if (one_in(random, 2)) n = interesting_number(random);
    if (one_in(random, 2)) std::swap(n, e.shape[below(random, e.shape.size())]);
    if (one_in(random, 4)) n = 1 + below(random, 9);
  } else {
    mutate_json(e.shape, random);
  }
  fit_bytes(e);
}

// A size that several places have to agree on.
void mutate_number(Container& c, Random& random) {
  std::vector<json> numbers;
  for (const auto& e : c.tensors)
    if (e.shape.is_array()) numbers.insert(numbers.end(), e.shape.begin(), e.shape.end());
  if (numbers.empty()) return;
  const json from = pick(random, numbers),
             to = one_in(random, 2) ? json(1 + below(random, 20)) : interesting_number(random);
  for (auto& e : c.tensors) {
    replace_number(e.shape, from, to);
    fit_bytes(e);
  }
  for (auto& [key, text] : c.metadata) {
    json j = parse_json(text);
    if (!j.is_structured()) continue;
    replace_number(j, from, to);
    text = j.dump(-1, ' ', false, json::error_handler_t::replace);
  }
}

// The metadata of most bytes, if it is JSON; null if it is not.
std::string* description(Container& c) {
  const auto longest = std::max_element(c.metadata.begin(), c.metadata.end(),
                                        [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  return longest != c.metadata.end() && parse_json(longest->second).is_structured() ? &longest->second : nullptr;
}

void mutate_metadata(Container& c, Random& random) {
  if (c.metadata.empty()) return;
  const auto at = std::next(c.metadata.begin(), std::ptrdiff_t(below(random, c.metadata.size())));
  if (one_in(random, 2))
    c.metadata.erase(at);
  else
    at->second = mutate_bytes(at->second, random);
}

void mutate_tensors(Container& c, Random& random) {
  if (c.tensors.empty()) return;
  const size_t at = below(random, c.tensors.size());
  Container::Entry& e = c.tensors[at];
  switch (below(random, 8)) {
    case 0: c.tensors.erase(c.tensors.begin() + std::ptrdiff_t(at)); break;
    case 1: c.tensors.push_back(Container::Entry(e)); break;
    case 2: e.name = one_in(random, 2) ? pick(random, c.tensors).name : e.name + "x"; break;
    case 3:
      e.dtype = std::next(kSizes.begin(), std::ptrdiff_t(below(random, kSizes.size())))->first;
      fit_bytes(e);
      break;
    case 4: mutate_shape(e, random); break;
    case 5: mutate_number(c, random); break;
    default: mutate_elements(e, random); break;
  }
}

void mutate_once(Container& c, Random& random) {
  if (one_in(random, 16)) return mutate_metadata(c, random);
  std::string* const text = description(c);
  if (text && one_in(random, 2))
    *text = mutate_json_text(*text, random);
  else
    mutate_tensors(c, random);
}

}  // namespace

std::optional<Container> Container::parse(const std::string& file) {
  const auto parts = split(file);
  if (!parts) return {};
  const json header = parse_json(parts->first);
  if (!header.is_object()) return {};
  Container c;
  try {
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        c.metadata = value.get<std::map<std::string, std::string>>();
        continue;
      }
      const auto begin = value.at("data_offsets").at(0).get<size_t>(),
                 end = value.at("data_offsets").at(1).get<size_t>();
      if (begin > end || end > parts->second.size()) return {};
      c.tensors.push_back({name, value.at("dtype"), value.at("shape"), parts->second.substr(begin, end - begin)});
    }
  } catch (const json::exception&) {
    return {};
  }
  return c;
}

std::string Container::file() const {
  nn::SafeTensors content{.metadata = metadata, .tensors = {}};
  for (const Entry& e : tensors)
    content.tensors.emplace_back(
        e.name, Tensor::from(std::span(reinterpret_cast<const uint8_t*>(e.bytes.data()), e.bytes.size()),
                             {int64_t(e.bytes.size())}));
  auto all = metadata;
  if (const auto sum = all.find("sha256"); sum != all.end()) sum->second = nn::graph::content_hash(content);
  json header{{"__metadata__", all}};
  std::string data;
  for (const Entry& e : tensors) {
    header[e.name] = {
        {"dtype", e.dtype}, {"shape", e.shape}, {"data_offsets", {data.size(), data.size() + e.bytes.size()}}};
    data += e.bytes;
  }
  return join(header.dump(-1, ' ', false, json::error_handler_t::replace), data);
}

std::string mutate_container(std::string file, Random& random) {
  if (one_in(random, 12)) return mutate_bytes(std::move(file), random);
  if (one_in(random, 6)) {
    const auto parts = split(file);
    return parts ? join(mutate_json_text(parts->first, random), parts->second) : file;
  }
  std::optional<Container> c = Container::parse(file);
  if (!c) return mutate_bytes(std::move(file), random);
  do mutate_once(*c, random);
  while (one_in(random, 2));
  return c->file();
}

std::string written(const std::function<void(const std::filesystem::path&)>& write) {
  const mininn::testing::TempFolder folder;
  write(folder / "file");
  return read_file(folder / "file");
}

}  // namespace mininn::fuzz
