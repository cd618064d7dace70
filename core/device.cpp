#include "core/device.h"

#include <charconv>

#include "core/backend.h"
#include "core/error.h"
#include "core/file.h"

namespace mininn {
namespace {

constexpr std::string_view kNames[kDeviceTypes] = {"cpu", "cuda", "custom"};

}  // namespace

size_t index_of(DeviceType type) {
  if (int(type) >= kDeviceTypes) throw DeviceError(message("there is no device type ", int(type)));
  return size_t(type);
}

std::string_view name(DeviceType type) { return kNames[index_of(type)]; }

int device_count(DeviceType type) {
  const Backend* const b = find_backend(type);
  return b ? b->count() : 0;
}

std::string to_string(Device d) { return d == Device::cpu() ? "cpu" : message(name(d.type), ':', d.index); }

std::string cpu_name() {
  std::string text(4096, '\0');  // of the first core; there may be hundreds
  const File in = open_file("/proc/cpuinfo", "rb");
  text.resize(in ? std::fread(text.data(), 1, text.size(), in.get()) : 0);
  const size_t line = text.find("model name"), value = text.find(": ", line);
  return value < text.find('\n', line) ? text.substr(value + 2, text.find('\n', value) - value - 2) : "unknown CPU";
}

Device Device::best() { return device_count(DeviceType::cuda) > 0 ? cuda() : cpu(); }

Device Device::parse(std::string_view text) {
  if (text == "auto") return best();
  if (text == "cpu") return cpu();
  for (const DeviceType type : {DeviceType::cuda, DeviceType::custom}) {
    if (!text.starts_with(name(type))) continue;
    Device d{type, 0};
    const std::string_view rest = text.substr(name(type).size());
    if (!rest.empty() && rest[0] != ':') continue;
    if (!rest.empty()) {
      const char* const last = rest.data() + rest.size();
      const auto [end, error] = std::from_chars(rest.data() + 1, last, d.index);
      if (error != std::errc() || end != last || d.index < 0)
        throw ValueError(message("device '", excerpt(text), "': after ", name(type), ": comes a number"));
    }
    const Backend* const b = find_backend(type);
    if (const int n = b ? b->count() : 0; d.index >= n)
      throw DeviceError(message("device '", excerpt(text), "': ",
                                n > 0                      ? message("only ", n, ' ', name(type), " devices here")
                                : b                        ? b->why_none()
                                : type == DeviceType::cuda ? "this program was built without CUDA"
                                                           : "this program brings no device of its own"));
    return d;
  }
  throw ValueError(message("device '", excerpt(text), "' is none of auto, cpu, cuda, cuda:N, custom, custom:N"));
}

}  // namespace mininn
