// The characters of UTF-8 texts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mininn {

// Whether a byte goes on with a character that another one began.
constexpr bool inside_character(char c) { return (uint8_t(c) & 0xc0) == 0x80; }

inline size_t characters(std::string_view text) {
  return text.size() - size_t(std::count_if(text.begin(), text.end(), inside_character));
}

}  // namespace mininn
