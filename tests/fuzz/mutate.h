// Changes to inputs that formats have in common.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace mininn::fuzz {

// Bits, bytes, whole numbers of 1 to 8 bytes, blocks copied, inserted and cut out.
std::string mutate_bytes(std::string bytes, Random& random);

// Numbers to interesting ones, other types, keys and entries doubled, exchanged, removed.
void mutate_json(nlohmann::json& j, Random& random);

// Parsed; discarded too where it is nested so deeply that walking it could take more stack than there is.
nlohmann::json parse_json(const std::string& text);

// Mutates a JSON text: mostly as above, else characters, or a number as text, which may leave any range or become a
// deep nest.
std::string mutate_json_text(const std::string& text, Random& random);

// A number at the edge of something.
nlohmann::json interesting_number(Random& random);

// Every number in `j` that equals `from` becomes `to`.
void replace_number(nlohmann::json& j, const nlohmann::json& from, const nlohmann::json& to);

}  // namespace mininn::fuzz
