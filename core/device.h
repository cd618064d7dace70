// Where a tensor's bytes live and where its ops run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mininn {

// custom: a device that a program brings itself (core/backend.h).
enum class DeviceType : uint8_t { cpu, cuda, custom };
inline constexpr int kDeviceTypes = 3;

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;

  static Device cpu() { return {}; }
  static Device cuda(int index = 0) { return {DeviceType::cuda, index}; }
  static Device custom(int index = 0) { return {DeviceType::custom, index}; }
  // The first CUDA device that this build and this machine have, else the CPU.
  static Device best();
  // Parses "auto", "cpu", "cuda", "cuda:N", "custom" or "custom:N". Throws ValueError for anything else, DeviceError if
  // it does not exist here.
  static Device parse(std::string_view text);
};

// Its position in lists of one entry per type. Throws DeviceError for a number that is no type.
size_t index_of(DeviceType type);
// "cpu", "cuda", "custom". Throws DeviceError for a number that is no type.
std::string_view name(DeviceType type);

// Number of usable devices of a type; 0 where the build has no backend for it.
int device_count(DeviceType type);

// "cpu", "cuda:0".
std::string to_string(Device d);

// The processor's name as Linux tells it, or "unknown CPU".
std::string cpu_name();

}  // namespace mininn
