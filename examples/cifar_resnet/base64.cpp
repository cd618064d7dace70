#include "examples/cifar_resnet/base64.h"

#include <algorithm>
#include <string_view>

namespace cifar_resnet {

namespace {
constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

std::string base64(std::span<const uint8_t> bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < n ? bytes[i + k] : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::optional<std::vector<uint8_t>> from_base64(const std::string& text) {
  std::vector<uint8_t> out;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) break;
    word = word << 6 | uint32_t(digit);
    bits += 6;
    if (bits >= 8) out.push_back(uint8_t(word >> (bits -= 8)));
  }
  if (base64(out) != text) return {};
  return out;
}

}  // namespace cifar_resnet
