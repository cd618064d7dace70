// Bytes in JSON and HTML (RFC 4648).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cifar_resnet {

std::string base64(std::span<const uint8_t> bytes);

// The bytes of what base64() wrote; no value for any other text.
std::optional<std::vector<uint8_t>> from_base64(const std::string& text);

}  // namespace cifar_resnet
