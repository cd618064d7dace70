#include "core/device.h"

#include <array>
#include <charconv>

#include "core/allocator.h"
#include "core/error.h"
#include "core/file.h"
#include "core/kernel.h"

namespace mininn {
namespace {

std::array<DeviceBackend, kDeviceTypes>& backends() {
  static std::array<DeviceBackend, kDeviceTypes> b;
  return b;
}

const DeviceBackend& backend(DeviceType type) {
  detail::ensure_backends();
  return backends()[index_of(type)];
}

struct CurrentStreams {
  std::array<void*, 16> cuda{};
};
thread_local CurrentStreams streams;

void*& stream_slot(Device d) {
  if (d.index < 0 || size_t(d.index) >= streams.cuda.size())
    throw DeviceError(message("no stream slot for device ", to_string(d)));
  return streams.cuda[size_t(d.index)];
}

}  // namespace

void set_device_backend(DeviceType type, const DeviceBackend& b) { backends()[index_of(type)] = b; }

size_t index_of(DeviceType type) {
  if (int(type) >= kDeviceTypes) throw DeviceError(message("there is no device type ", int(type)));
  return size_t(type);
}

int device_count(DeviceType type) {
  if (type == DeviceType::cpu) return 1;
  const auto& b = backend(type);
  return b.device_count ? b.device_count() : 0;
}

Allocator& allocator(Device d) {
  if (d.type == DeviceType::cpu) return cpu_allocator();
  const auto& b = backend(d.type);
  if (!b.allocator) throw DeviceError(message("device ", to_string(d), ": this build has no backend for it"));
  return b.allocator(d.index);
}

std::string to_string(Device d) { return d.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(d.index); }

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
  Device d = cuda();
  if (text.starts_with("cuda:")) {
    const std::string_view number = text.substr(5);
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), d.index);
    if (error != std::errc() || end != number.data() + number.size() || d.index < 0)
      throw ValueError(message("device '", excerpt(text), "': after cuda: comes a number"));
  } else if (text != "cuda") {
    throw ValueError(message("device '", excerpt(text), "' is none of auto, cpu, cuda, cuda:N"));
  }
  if (const int n = device_count(DeviceType::cuda); d.index >= n)
    throw DeviceError(
        n == 0 ? message("device '", excerpt(text), "': no CUDA device here (", n, " found, or built without CUDA)")
               : message("device '", excerpt(text), "': only ", n, " CUDA devices here"));
  return d;
}

Stream current_stream(Device d) { return {d, d.type == DeviceType::cpu ? nullptr : stream_slot(d)}; }

StreamGuard::StreamGuard(Stream s) : previous_(current_stream(s.device)) {
  if (s.device.type != DeviceType::cpu) stream_slot(s.device) = s.handle;
}

StreamGuard::~StreamGuard() {
  if (previous_.device.type != DeviceType::cpu) stream_slot(previous_.device) = previous_.handle;
}

}  // namespace mininn
