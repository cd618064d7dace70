// Reading the JSON of files that nobody vouches for. A field that is not what it must be is a ValueError that names it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace cifar_resnet {

// The object that `text` holds; no value if it holds none, or one nested too deeply to be handled recursively.
std::optional<nlohmann::json> parse_object(const std::string& text);

// Fields of `object`, which may be any JSON.
const nlohmann::json& object_at(const nlohmann::json& object, const char* key);
const nlohmann::json& array_at(const nlohmann::json& object, const char* key);
std::string text_at(const nlohmann::json& object, const char* key);
int64_t integer_at(const nlohmann::json& object, const char* key, int64_t least, int64_t most);
uint64_t unsigned_at(const nlohmann::json& object, const char* key);
double number_at(const nlohmann::json& object, const char* key, double least, double most);

// `count` bytes in base64.
std::vector<uint8_t> bytes_at(const nlohmann::json& object, const char* key, size_t count);
// Null, or not there, is no number.
std::optional<double> number_if_at(const nlohmann::json& object, const char* key, double least, double most);

// The items of an array of such.
std::vector<double> numbers_at(const nlohmann::json& object, const char* key, double least, double most);
std::vector<int64_t> integers_at(const nlohmann::json& object, const char* key, int64_t least, int64_t most);
std::vector<std::string> texts_at(const nlohmann::json& object, const char* key);

}  // namespace cifar_resnet
