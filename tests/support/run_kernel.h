// Runs kernels wherever they are registered, so that one parity test serves every device: operands lie in the host's
// memory, where the test makes and compares them, and a call for another device is moved there and back.
#pragma once

#include <algorithm>
#include <map>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/kernel.h"
#include "core/members.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/quantize.h"
#include "tests/support/catch.h"

namespace mininn::testing {

// The first device of each type that has one. The deferred device is always among them: the first call installs it.
const std::vector<Device>& every_device();
// While alive, every_device() is the CPU alone, whatever else there is: for cases of its own kernels, which show
// nothing new elsewhere.
class CpuOnly {
 public:
  CpuOnly();
  ~CpuOnly();
  CpuOnly(const CpuOnly&) = delete;
  CpuOnly& operator=(const CpuOnly&) = delete;
};
// The same without the CPU.
std::vector<Device> other_devices();

// The numbers of threads to run a kernel with. They are the CPU's: elsewhere a second run would show nothing new, and
// cost as much.
inline std::vector<int> thread_counts(Device d) {
  return d.type == DeviceType::cpu ? std::vector{1, 2} : std::vector{1};
}

// Calls fn(device, kernel) for every kernel of every device.
template <class Args, class Fn>
void for_each_kernel(const Fn& fn) {
  for (const Device d : every_device())
    for (const Kernel<Args>& kernel : kernels<Args>().candidates(d.type)) fn(d, kernel);
}

// How many kernels of a device took a call.
using Takers = std::map<DeviceType, int>;
inline int fewest(const Takers& takers) { return std::ranges::min(takers | std::views::values); }

// What a view covers of the host's memory.
struct HostSpan {
  const std::byte *begin, *end;
  bool written;
};

// Spans of the host's memory in one block of a device's, each between guard zones. Spans that overlap stay one.
class MovedSpans {
 public:
  MovedSpans(Device device, std::vector<HostSpan> spans);

  // Where a byte of a span went: as far from a multiple of 64 as it was.
  std::byte* at(const std::byte* host);
  // Waits for the device and copies back what may be written. Returns where else the block has changed, empty: nowhere.
  std::string fetch();

 private:
  struct Moved : HostSpan {
    size_t offset;
    size_t bytes() const { return size_t(end - begin); }
  };
  Device device_;
  std::vector<Moved> spans_;       // by address
  std::vector<std::byte> before_;  // the block as it went there
  Tensor block_;
};

namespace detail {
template <class T>
concept IsView = std::is_same_v<T, View> || std::is_same_v<T, CView>;
template <class Args>
concept TakesPacked = requires(Args a) {
  a.packed;
};

// From the lowest byte of its elements to the highest; `pixels`: and the bytes behind the channels of the last pixel.
HostSpan span_of(const CView& v, bool written, bool pixels);

template <class Args>
std::vector<HostSpan> spans_of(const Args& args) {
  std::vector<HostSpan> spans;
  for_each_member(args, [&]<class M>(const M& member) {
    static_assert(!std::is_pointer_v<M> || std::is_function_v<std::remove_pointer_t<M>> ||
                      (TakesPacked<Args> && std::is_same_v<M, const std::byte*>),
                  "of bare pointers kernels get `packed` alone");
    if constexpr (IsView<M>) {
      constexpr bool written = std::is_same_v<M, View>;
      // QPack alone writes bytes that are no elements.
      if (member) spans.push_back(span_of(member, written, written && std::is_same_v<Args, op::QPack>));
    }
  });
  return spans;
}
}  // namespace detail

// A call whose operands were copied to a device.
template <class Args>
class MovedCall {
 public:
  MovedCall(Device device, const Args& host) : spans_(device, detail::spans_of(host)), args_(host) {
    for_each_member(args_, [&]<class M>(M& member) {
      if constexpr (detail::IsView<M>)
        if (member) member.data = spans_.at(member.data);
    });
  }
  const Args& args() const { return args_; }
  // Waits for it, copies the outputs back and says what was written besides: empty if nothing was.
  std::string finish() { return spans_.fetch(); }

 private:
  MovedSpans spans_;
  Args args_;
};

// In the following, operands lie in the host's memory whatever the device.

template <class Args>
bool refuses(Device device, const Kernel<Args>& kernel, const std::type_identity_t<Args>& args) {
  if (device.type == DeviceType::cpu || !kernel.admits)  // nobody reads an element
    return bool(kernel.refusal(args));
  return bool(kernel.refusal(MovedCall<Args>(device, args).args()));
}

// The constants of a call as the kernel packs them, on the device.
template <class Args>
Tensor pack_kernel(Device device, const Kernel<Args>& kernel, const std::type_identity_t<Args>& args) {
  return kernel.pack(device.type == DeviceType::cpu ? args : MovedCall<Args>(device, args).args());
}

// Runs the kernel and returns true, unless it refuses the call. `packed` is what pack_kernel() returned, if anything.
// On the CPU a kernel that may join a region runs once more in one: what it makes there is what the test sees.
// Off the CPU the test fails where a kernel has written more than outputs.
template <class Args>
[[nodiscard]] bool run_kernel(Device device, const Kernel<Args>& kernel, std::type_identity_t<Args> args,
                              const Tensor& packed = {}) {
  if constexpr (detail::TakesPacked<Args>) args.packed = packed ? packed.view().data : nullptr;
  if (refuses(device, kernel, args)) return false;
  const ExecContext at{device, current_stream(device)};
  if (device.type == DeviceType::cpu) {
    kernel.run(args, at);
    if (kernel.joins_region(args)) parallel_region([&] { kernel.run(args, at); });
  } else {
    MovedCall<Args> call(device, args);
    kernel.run(call.args(), at);
    CHECK(call.finish() == "");
  }
  return true;
}

}  // namespace mininn::testing
