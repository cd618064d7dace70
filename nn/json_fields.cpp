#include "nn/json_fields.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "nn/serialize.h"

namespace mininn::nn {

using nlohmann::json;

namespace {

constexpr size_t kMaxText = 4 << 20;  // in memory it takes thirty times as much
constexpr int kMaxDepth = 8;

}  // namespace

json parse_json(const char* what, const std::string& text) {
  if (text.size() > kMaxText) throw ValueError(message(what, " is too long"));
  if (nested_deeper(text, kMaxDepth)) throw ValueError(message(what, " is nested too deeply"));
  try {
    return json::parse(text);
  } catch (const json::parse_error& e) {
    throw ValueError(message(what, " is no valid JSON at byte ", e.byte));
  } catch (const json::exception&) {
    throw ValueError(message(what, " holds a number that is too large"));
  }
}

std::string json_text(const char* what, const json& j) {
  std::string text;
  try {
    text = j.dump();
  } catch (const json::exception&) {
    throw ValueError(message(what, " holds a text that is not UTF-8"));
  }
  if (text.size() > kMaxText)
    throw ValueError(message(what, " would have ", text.size(), " bytes, more than ", kMaxText));
  return text;
}

const json& field_at(const json& j, const char* key) {
  if (!j.is_object() || !j.contains(key)) throw ValueError(message("'", key, "' is missing"));
  return j[key];
}

int64_t integer(const json& j, const char* what) {
  if (j.is_number_unsigned() && j.get<uint64_t>() <= uint64_t(INT64_MAX)) return int64_t(j.get<uint64_t>());
  if (j.is_number_integer() && !j.is_number_unsigned()) return j.get<int64_t>();
  throw ValueError(message("'", what, "' is no integer"));
}

int small_integer(const json& j, const char* what) {
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

std::string text(const json& j, const char* what) {
  if (!j.is_string()) throw ValueError(message("'", excerpt(what), "' is no text"));
  return j.get<std::string>();
}

int64_t integer_at(const json& j, const char* key) { return integer(field_at(j, key), key); }
std::string text_at(const json& j, const char* key) { return text(field_at(j, key), key); }

bool flag_at(const json& j, const char* key) {
  const json& v = field_at(j, key);
  if (!v.is_boolean()) throw ValueError(message("'", key, "' is neither true nor false"));
  return v.get<bool>();
}

const json& array_at(const json& j, const char* key, size_t size) {
  const json& v = field_at(j, key);
  if (!v.is_array() || (size != SIZE_MAX && v.size() != size))
    throw ValueError(message("'", key, "' is no list", size == SIZE_MAX ? "" : message(" of ", size)));
  return v;
}

const json& object_at(const json& j, const char* key) {
  const json& v = field_at(j, key);
  if (!v.is_object()) throw ValueError(message("'", key, "' is no object"));
  return v;
}

std::vector<int64_t> integers_at(const json& j, const char* key) {
  std::vector<int64_t> out;
  for (const json& v : array_at(j, key)) out.push_back(integer(v, key));
  return out;
}

}  // namespace mininn::nn
