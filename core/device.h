// Where a tensor's bytes live and where its ops run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mininn {

enum class DeviceType : uint8_t { cpu, cuda };
inline constexpr int kDeviceTypes = 2;

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  bool operator==(const Device&) const = default;

  static Device cpu() { return {}; }
  static Device cuda(int index = 0) { return {DeviceType::cuda, index}; }
  // The first CUDA device that this build and this machine have, else the CPU.
  static Device best();
  // Parses "auto", "cpu", "cuda" or "cuda:N". Throws ValueError for anything else, DeviceError if it does not exist
  // here.
  static Device parse(std::string_view text);
};

// Its position in lists of one entry per type. Throws DeviceError for a number that is no type.
size_t index_of(DeviceType type);

// Number of usable devices of a type; 0 where the build has no backend for it.
int device_count(DeviceType type);

std::string to_string(Device d);

// The processor's name as Linux tells it, or "unknown CPU".
std::string cpu_name();

// An ordered queue of work on a device. The CPU has one, and every call on it has finished when it returns.
struct Stream {
  Device device;
  void* handle = nullptr;  // cudaStream_t on CUDA, null on the CPU
};

// The stream that ops on `d` use in this thread.
Stream current_stream(Device d);

// Makes `s` the current stream of its device in this thread, for the guard's lifetime.
class StreamGuard {
 public:
  explicit StreamGuard(Stream s);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  Stream previous_;
};

}  // namespace mininn
