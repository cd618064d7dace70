// Reading the JSON of network files, which nobody vouches for. A field that is not what it must be is a ValueError that
// names it. Private: the library's headers do not show JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mininn::nn {

// What `text` holds. Throws ValueError for a text that is too long, nested too deeply, no JSON, or with numbers that
// nothing holds; `what` names it.
nlohmann::json parse_json(const char* what, const std::string& text);
// The text of `j`, which parse_json() takes. Throws ValueError where it would be too long, and for texts in it that are
// not UTF-8.
std::string json_text(const char* what, const nlohmann::json& j);

const nlohmann::json& field_at(const nlohmann::json& j, const char* key);
int64_t integer(const nlohmann::json& j, const char* what);
int small_integer(const nlohmann::json& j, const char* what);
double number(const nlohmann::json& j, const char* what);
float real(const nlohmann::json& j, const char* what);  // within f32
std::string text(const nlohmann::json& j, const char* what);

int64_t integer_at(const nlohmann::json& j, const char* key);
std::string text_at(const nlohmann::json& j, const char* key);
bool flag_at(const nlohmann::json& j, const char* key);
const nlohmann::json& array_at(const nlohmann::json& j, const char* key, size_t size = SIZE_MAX);
const nlohmann::json& object_at(const nlohmann::json& j, const char* key);
std::vector<int64_t> integers_at(const nlohmann::json& j, const char* key);

}  // namespace mininn::nn
