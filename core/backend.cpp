#include "core/backend.h"

#include <array>
#include <cstring>

#include "core/error.h"
#include "core/kernel.h"

namespace mininn {
namespace {

// Everything is done when a call returns, so there is nothing to order or to wait for.
class CpuBackend final : public Backend {
 public:
  int count() const override { return 1; }
  Allocator& memory(int) override { return cpu_allocator(); }
  void copy(void* to, Device, const void* from, Device, size_t bytes, const Stream&) override {
    std::memcpy(to, from, bytes);
  }
  Stream new_stream(int) override { return {}; }
  void synchronize(const Stream&) override {}
  Event record(const Stream&) override { return {}; }
  void wait(const Stream&, const Event&) override {}
};

std::array<Backend*, kDeviceTypes>& backends() {
  static CpuBackend cpu;
  static std::array<Backend*, kDeviceTypes> all{&cpu};
  return all;
}

}  // namespace

Backend* find_backend(DeviceType type) {
  if (type != DeviceType::cpu) detail::ensure_backends();
  return backends()[index_of(type)];
}

Backend& backend(DeviceType type) {
  Backend* const b = find_backend(type);
  if (!b) throw DeviceError(message("device ", name(type), ": this build has no backend for it"));
  return *b;
}

Backend& backend(Device d) {
  Backend& b = backend(d.type);
  if (b.count() == 0) throw DeviceError(message("device ", to_string(d), ": ", b.why_none()));
  if (d.index < 0 || d.index >= b.count())
    throw DeviceError(message("there is no device ", to_string(d), " among ", b.count(), " of its type"));
  return b;
}

void set_backend(DeviceType type, Backend& b) { backends()[index_of(type)] = &b; }

}  // namespace mininn
