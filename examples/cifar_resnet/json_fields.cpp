#include "examples/cifar_resnet/json_fields.h"

#include "core/error.h"
#include "examples/cifar_resnet/base64.h"
#include "nn/serialize.h"

namespace cifar_resnet {

using mininn::message;
using mininn::ValueError;
using nlohmann::json;

namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxText = 4 << 20;  // in memory it takes thirty times as much

const json& at(const json& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) throw ValueError(message('\'', key, "' is missing"));
  return object[key];
}

int64_t integer(const json& v, const char* key, int64_t least, int64_t most) {
  const bool fits = v.is_number_integer() && (!v.is_number_unsigned() || v.get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits || v.get<int64_t>() < least || v.get<int64_t>() > most)
    throw ValueError(message('\'', key, "' is no integer from ", least, " to ", most));
  return v.get<int64_t>();
}

double number(const json& v, const char* key, double least, double most) {
  if (!v.is_number() || !(v.get<double>() >= least && v.get<double>() <= most))
    throw ValueError(message('\'', key, "' is no number from ", least, " to ", most));
  return v.get<double>();
}

std::string text(const json& v, const char* key) {
  if (!v.is_string()) throw ValueError(message('\'', key, "' is no text"));
  return v.get<std::string>();
}

}  // namespace

std::optional<json> parse_object(const std::string& text) {
  if (text.size() > kMaxText || mininn::nn::nested_deeper(text, kMaxDepth)) return {};
  json value = json::parse(text, nullptr, false);
  if (!value.is_object()) return {};
  return value;
}

const json& object_at(const json& object, const char* key) {
  const json& v = at(object, key);
  if (!v.is_object()) throw ValueError(message('\'', key, "' is no object"));
  return v;
}

const json& array_at(const json& object, const char* key) {
  const json& v = at(object, key);
  if (!v.is_array()) throw ValueError(message('\'', key, "' is no list"));
  return v;
}

std::string text_at(const json& object, const char* key) { return text(at(object, key), key); }

int64_t integer_at(const json& object, const char* key, int64_t least, int64_t most) {
  return integer(at(object, key), key, least, most);
}

uint64_t unsigned_at(const json& object, const char* key) {
  const json& v = at(object, key);
  if (!v.is_number_unsigned()) throw ValueError(message('\'', key, "' is no whole number"));
  return v.get<uint64_t>();
}

double number_at(const json& object, const char* key, double least, double most) {
  return number(at(object, key), key, least, most);
}

std::vector<uint8_t> bytes_at(const json& object, const char* key, size_t count) {
  auto bytes = from_base64(text_at(object, key));
  if (!bytes || bytes->size() != count) throw ValueError(message('\'', key, "' is not ", count, " bytes in base64"));
  return *std::move(bytes);
}

std::optional<double> number_if_at(const json& object, const char* key, double least, double most) {
  if (!object.is_object() || !object.contains(key) || object[key].is_null()) return {};
  return number(object[key], key, least, most);
}

std::vector<double> numbers_at(const json& object, const char* key, double least, double most) {
  std::vector<double> out;
  for (const json& v : array_at(object, key)) out.push_back(number(v, key, least, most));
  return out;
}

std::vector<int64_t> integers_at(const json& object, const char* key, int64_t least, int64_t most) {
  std::vector<int64_t> out;
  for (const json& v : array_at(object, key)) out.push_back(integer(v, key, least, most));
  return out;
}

std::vector<std::string> texts_at(const json& object, const char* key) {
  std::vector<std::string> out;
  for (const json& v : array_at(object, key)) out.push_back(text(v, key));
  return out;
}

}  // namespace cifar_resnet
