#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <cstring>

namespace mininn::fuzz {

using nlohmann::json;

namespace {

constexpr int64_t kInts[] = {0,       -1,      1,         2,         3,          4,         7,         8,
                             16,      31,      32,        64,        100,        127,       128,       255,
                             256,     257,     1 << 10,   1 << 13,   65535,      65536,     100'000,   1 << 20,
                             1 << 24, 1 << 26, INT32_MAX, INT32_MIN, 1ll << 31,  1ll << 32, 1ll << 40, 1ll << 53,
                             -2,      -128,    1ll << 62, INT64_MAX, -INT64_MAX, INT64_MIN, 1ll << 60, 1'000'000'007};
constexpr double kReals[] = {0.5,   -0.5,  -0.0,     0.25, 1e-5,   1e-30,  1e-38,  1e-45,  5e-324,
                             1e5,   1e10,  1e17,     1e30, 3.4e38, 3.5e38, 1e150,  1e300,  1.7e308,
                             -1e17, -1e38, -1.7e308, 1.5,  2.5,    0.999,  1.0001, 1e-308, 9.3e18};
const char* const kTexts[] = {"1e999",
                              "-1e999",
                              "18446744073709551615",
                              "18446744073709551616",
                              "-9223372036854775809",
                              "1e17",
                              "-0",
                              "0.1e-400",
                              "00",
                              "1.",
                              "NaN",
                              "123456789012345678901234567890"};

void collect(json& j, std::vector<json*>& nodes) {
  nodes.push_back(&j);
  if (j.is_structured())
    for (json& child : j) collect(child, nodes);
}

json something(Random& random) {
  switch (below(random, 8)) {
    case 0: return nullptr;
    case 1: return one_in(random, 2);
    case 2: return json::array();
    case 3: return json::object();
    case 4: return std::string(below(random, 3) ? "" : "text");
    case 5: return std::string(size_t{1} << below(random, 16), 'x');
    case 6: return "\xc3\xa9 \xe2\x80\xa6 \x01 \"<&>";
    default: return interesting_number(random);
  }
}

void change_list(json& list, Random& random) {
  const size_t at = below(random, list.size()), other = below(random, list.size());
  switch (below(random, 4)) {
    case 0: list.erase(at); break;
    case 1: std::swap(list[at], list[other]); break;
    case 2: list.insert(list.begin() + std::ptrdiff_t(at), json(list[other])); break;
    default: {
      const json copy = list[at];
      for (size_t n = size_t{1} << below(random, 8); n; --n) list.push_back(copy);
    }
  }
}

void change_object(json& object, Random& random) {
  auto at = object.begin();
  std::advance(at, std::ptrdiff_t(below(random, object.size())));
  const std::string key = at.key();
  const json value = at.value();
  if (!one_in(random, 4)) object.erase(key);
  if (!one_in(random, 3)) object[key.substr(0, below(random, key.size() + 1)) + (one_in(random, 2) ? "x" : "")] = value;
}

void change_number(json& j, Random& random) {
  if (!one_in(random, 3) || !j.is_number_integer()) {
    j = interesting_number(random);
    return;
  }
  const int64_t v = std::clamp<int64_t>(j.get<int64_t>(), -(1ll << 60), 1ll << 60);
  const int64_t near[] = {v + 1, v - 1, v * 2, v / 2, -v, v + 8};
  j = near[below(random, std::size(near))];
}

}  // namespace

json interesting_number(Random& random) {
  if (one_in(random, 3)) return pick(random, kReals);
  return one_in(random, 30) ? json(UINT64_MAX) : json(pick(random, kInts));
}

void replace_number(json& j, const json& from, const json& to) {
  if (j.is_number() && j == from) j = to;
  if (j.is_structured())
    for (json& child : j) replace_number(child, from, to);
}

std::string mutate_bytes(std::string bytes, Random& random) {
  do {
    if (bytes.empty()) return std::string(1 + below(random, 8), char(random()));
    const size_t at = below(random, bytes.size()), n = std::min(size_t{1} << below(random, 8), bytes.size() - at);
    switch (below(random, 8)) {
      case 0: bytes[at] = char(bytes[at] ^ 1 << below(random, 8)); break;
      case 1: bytes[at] = char(random()); break;
      case 2:
      case 3: {  // a number, in either order of bytes
        auto v = uint64_t(pick(random, kInts));
        const size_t width = std::min(size_t{1} << below(random, 4), bytes.size() - at);
        if (one_in(random, 2)) v = __builtin_bswap64(v) >> (64 - 8 * width);
        std::memcpy(bytes.data() + at, &v, width);
        break;
      }
      case 4: bytes.erase(at, n); break;
      case 5: bytes.insert(at, bytes.substr(below(random, bytes.size()), n)); break;
      case 6: bytes.replace(at, n, n, pick(random, "\0\xff\x7f\x80 01{[\"")); break;
      default:
        if (one_in(random, 4)) bytes.resize(at);
    }
  } while (one_in(random, 2));
  return bytes;
}

void mutate_json(json& j, Random& random) {
  std::vector<json*> nodes;
  collect(j, nodes);
  json& node = *pick(random, nodes);
  const size_t kind = below(random, 12);
  if (kind == 0) {
    node = something(random);
  } else if (kind == 1) {
    const json other = *pick(random, nodes);
    node = other;
  } else if (kind == 2) {
    for (size_t depth = size_t{1} << below(random, 8); depth; --depth) node = json::array({std::move(node)});
  } else if (kind < 5) {
    if (node.is_number()) {
      const json from = node;
      replace_number(j, from, interesting_number(random));
    }
  } else if (node.is_number()) {
    change_number(node, random);
  } else if (node.is_string()) {
    const json* const other = pick(random, nodes);
    node = one_in(random, 2) ? something(random) : *other;
  } else if (node.is_array() && !node.empty()) {
    change_list(node, random);
  } else if (node.is_object() && !node.empty()) {
    change_object(node, random);
  } else {
    node = something(random);
  }
}

json parse_json(const std::string& text) {
  constexpr int kMaxDepth = 500;
  bool deep = false;
  const json j = json::parse(
      text, [&](int depth, json::parse_event_t, json&) { return !(deep = deep || depth > kMaxDepth); }, false);
  return deep ? json(json::value_t::discarded) : j;
}

std::string mutate_json_text(const std::string& text, Random& random) {
  json j = parse_json(text);
  if (j.is_discarded() || one_in(random, 12)) return mutate_bytes(text, random);
  do mutate_json(j, random);
  while (one_in(random, 3));
  std::string out = j.dump(-1, ' ', false, json::error_handler_t::replace);
  if (one_in(random, 12)) {
    constexpr auto kDigits = "0123456789.eE-";
    const size_t begin = out.find_first_of(kDigits, below(random, out.size()));
    const size_t nest = one_in(random, 4) ? size_t{1} << below(random, 18) : 0;
    if (begin != out.npos)
      out.replace(begin, out.find_first_not_of(kDigits, begin) - begin,
                  nest ? std::string(nest, '[') + std::string(nest, ']') : pick(random, kTexts));
  }
  return out;
}

}  // namespace mininn::fuzz
