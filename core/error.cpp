#include "core/error.h"

#include <algorithm>
#include <cstdio>

#include "core/utf8.h"

namespace mininn {

namespace {

constexpr size_t kMostOfText = 100, kMostOfMessage = 4000;  // bytes

// The escape sequences of terminals begin with a control character: ESC, or one of those that UTF-8 writes as C2 80 to
// C2 9F.
std::string without_controls(std::string_view text, bool keep_lines) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = uint8_t(text[i]);
    const bool two_bytes =
        c == 0xc2 && i + 1 < text.size() && uint8_t(text[i + 1]) >= 0x80 && uint8_t(text[i + 1]) < 0xa0;
    if (!two_bytes && c >= 0x20 && c != 0x7f) {
      out += text[i];
    } else if (c == '\n' && keep_lines) {
      out += '\n';
    } else {
      const uint8_t code = two_bytes ? uint8_t(text[++i]) : c;
      out += {'\\', 'x', digits[code >> 4], digits[code & 15]};
    }
  }
  return out;
}

// The beginning and the last fifth of a text that is too long.
std::string shortened(std::string text, size_t most) {
  if (text.size() <= most) return text;
  size_t begin = most - most / 5, end = text.size() - most / 5;
  while (begin > 0 && inside_character(text[begin])) --begin;
  while (end < text.size() && inside_character(text[end])) ++end;
  return text.replace(begin, end - begin, "...");
}

}  // namespace

std::string excerpt(std::string_view text) { return shortened(without_controls(text, false), kMostOfText); }

Error::Error(const std::string& what) : std::runtime_error(shortened(without_controls(what, true), kMostOfMessage)) {}

// Not by std::to_chars, whose tables take 100 KB of a static program.
void detail::append_number(std::string& out, double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", v);
  std::string_view rest = text;
  const size_t point = rest.find_first_not_of("0123456789-+einfa");  // of the process's locale
  if (point == rest.npos) {
    out += rest;
    return;
  }
  out += rest.substr(0, point);
  out += '.';
  rest.remove_prefix(point);
  out += rest.substr(rest.find_first_of("0123456789"));
}

}  // namespace mininn
