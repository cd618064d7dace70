#include "tests/support/run_kernel.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/backend.h"
#include "core/error.h"
#include "core/integers.h"
#include "tests/support/deferred_device.h"

namespace mininn::testing {
namespace {

constexpr size_t kZone = 256;
constexpr std::byte kGuard{0xa5};

bool cpu_only = false;

}  // namespace

CpuOnly::CpuOnly() { cpu_only = true; }
CpuOnly::~CpuOnly() { cpu_only = false; }

const std::vector<Device>& every_device() {
  static const std::vector<Device> cpu{Device::cpu()};
  if (cpu_only) return cpu;
  static const std::vector<Device> all = [] {
    install_deferred_device();
    std::vector<Device> found;
    for (int type = 0; type < kDeviceTypes; ++type)
      if (device_count(DeviceType(type)) > 0) found.push_back({DeviceType(type)});
    return found;
  }();
  return all;
}

std::vector<Device> other_devices() {
  std::vector<Device> found = every_device();
  std::erase(found, Device::cpu());
  return found;
}

HostSpan detail::span_of(const CView& v, bool written, bool pixels) {
  if (v.size() == 0) return {v.data, v.data, written};
  int64_t lowest = 0, highest = 0;
  for (int d = 0; d < v.shape.rank(); ++d) (v.strides[d] < 0 ? lowest : highest) += (v.shape[d] - 1) * v.strides[d];
  if (pixels) highest += v.strides[3] - v.shape[1];
  const auto element = int64_t(size_of(v.dtype));
  return {v.data + lowest * element, v.data + (highest + 1) * element, written};
}

MovedSpans::MovedSpans(Device device, std::vector<HostSpan> spans) : device_(device) {
  std::ranges::sort(spans, {}, [](const HostSpan& s) { return std::pair(s.begin, s.end); });
  for (const HostSpan& s : spans) {
    if (spans_.empty() || s.begin >= spans_.back().end) {
      spans_.push_back({s, 0});
    } else {
      spans_.back().end = std::max(spans_.back().end, s.end);
      spans_.back().written |= s.written;
    }
  }
  size_t size = 0;
  for (Moved& s : spans_) {
    s.offset = round_up(size + kZone, 64) + std::bit_cast<uintptr_t>(s.begin) % 64;
    size = s.offset + s.bytes();
  }
  before_.assign(std::bit_ceil(size + kZone), kGuard);  // few sizes: a device may keep its free memory by size
  for (const Moved& s : spans_) std::copy(s.begin, s.end, before_.data() + s.offset);
  block_ = Tensor::empty({int64_t(before_.size())}, DType::u8, device);
  backend(device.type)
      .copy(block_.mutable_view().data, device, before_.data(), Device::cpu(), before_.size(), current_stream(device));
}

std::byte* MovedSpans::at(const std::byte* host) {
  const Moved& s = *std::prev(std::ranges::upper_bound(spans_, host, {}, &Moved::begin));
  return block_.mutable_view().data + s.offset + (host - s.begin);
}

std::string MovedSpans::fetch() {
  std::vector<std::byte> after(before_.size());
  const Stream stream = current_stream(device_);
  backend(device_.type).copy(after.data(), Device::cpu(), block_.view().data, device_, after.size(), stream);
  synchronize(stream);
  for (const Moved& s : spans_)
    if (s.written) {
      std::memcpy(const_cast<std::byte*>(s.begin), after.data() + s.offset, s.bytes());  // a View's
      std::memcpy(before_.data() + s.offset, after.data() + s.offset, s.bytes());
    }
  if (std::memcmp(before_.data(), after.data(), after.size()) == 0) return {};
  const auto stray = std::ranges::mismatch(before_, after).in1 - before_.begin();
  const auto distance = [&](const Moved& s) {
    const int64_t first = int64_t(s.offset), last = first + int64_t(s.bytes()) - 1;
    return std::max({first - stray, stray - last, int64_t{0}});
  };
  const Moved& s = *std::ranges::min_element(spans_, {}, distance);
  return message("byte ", stray - int64_t(s.offset), " of an ", s.written ? "output" : "input", " of ", s.bytes(),
                 " bytes");
}

}  // namespace mininn::testing
