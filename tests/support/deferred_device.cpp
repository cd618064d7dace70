#include "tests/support/deferred_device.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/error.h"
#include "core/kernel.h"
#include "tests/support/kernel_args.h"
#include "tests/support/lazy_device.h"

namespace mininn::testing {
namespace deferred {
namespace {

constexpr int kDevices = 2;

lazy::Memory& memory() {
  static lazy::Memory m(kDevices);
  return m;
}

std::shared_ptr<lazy::Queue> queue_of(const Stream& s) {
  static const auto make = [] { return std::make_shared<lazy::Queue>(memory()); };
  static std::shared_ptr<lazy::Queue> defaults[kDevices] = {make(), make()};
  if (s.device.type != DeviceType::custom || s.device.index < 0 || s.device.index >= kDevices)
    throw DeviceError(message("there is no deferred device ", to_string(s.device)));
  return s.handle ? std::static_pointer_cast<lazy::Queue>(s.handle) : defaults[s.device.index];
}

class DeferredAllocator final : public Allocator {
 public:
  explicit DeferredAllocator(int device) : heap_(memory(), device) {}

  void* allocate(size_t bytes, const Stream& stream) override {
    void* const p = heap_.allocate(bytes, *queue_of(stream));
    if (!p) throw Error("the deferred device has no memory left");
    stats_.live_bytes += lazy::Heap::rounded(bytes);
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return p;
  }
  void deallocate(void* p, size_t bytes, const Stream& stream) noexcept override {
    stats_.live_bytes -= lazy::Heap::rounded(bytes);
    heap_.deallocate(p, bytes, *queue_of(stream));
  }
  MemoryStats stats() const override { return stats_; }
  void release_cached() override {}

 private:
  lazy::Heap heap_;
  MemoryStats stats_;
};

class DeferredBackend final : public Backend {
 public:
  int count() const override { return kDevices; }
  Allocator& memory(int index) override { return allocators_.at(size_t(index)); }
  void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
            const Stream& stream) override {
    lazy::copy(to, to_device.type == DeviceType::cpu, from, from_device.type == DeviceType::cpu, bytes,
               *queue_of(stream));
  }
  Stream new_stream(int index) override {
    return {Device::custom(index), std::make_shared<lazy::Queue>(deferred::memory())};
  }
  void synchronize(const Stream& stream) override { queue_of(stream)->run(); }
  Event record(const Stream& stream) override {
    const auto queue = queue_of(stream);
    return {std::make_shared<lazy::Mark>(lazy::Mark{queue, queue->pushed()})};
  }
  void wait(const Stream& stream, const Event& event) override {
    enqueue(stream, [mark = std::static_pointer_cast<lazy::Mark>(event.handle)] { mark->queue->run(mark->count); });
  }

 private:
  std::vector<DeferredAllocator> allocators_{DeferredAllocator(0), DeferredAllocator(1)};
};

}  // namespace

void enqueue(const Stream& stream, std::function<void()> work) { queue_of(stream)->push(std::move(work)); }

}  // namespace deferred

namespace {

// The kernel that works on the deferred device: the reference, later.
template <class Args>
Kernel<Args> deferred_kernel() {
  static const Kernel<Args> reference = kernels<Args>().candidates(DeviceType::cpu).back();
  Kernel<Args> kernel = reference;
  kernel.run = [](const Args& args, const ExecContext& at) {
    deferred::enqueue(at.stream, [args] { reference.run(args, {Device::cpu(), {}}); });
  };
  if (kernel.pack)
    kernel.pack = [](const Args& args) {
      Tensor packed;
      const Stream stream = current_stream(Device::custom());
      deferred::enqueue(stream, [&] { packed = reference.pack(args); });
      synchronize(stream);
      return packed.to(Device::custom());
    };
  return kernel;
}

}  // namespace

void install_deferred_device() {
  // Never destroyed: tensors with static storage duration may outlive every other static.
  static auto* const backend = new deferred::DeferredBackend;
  set_backend(DeviceType::custom, *backend);
  for_each_kernel_args([]<class Args>() { kernels<Args>().set(DeviceType::custom, {deferred_kernel<Args>()}); });
}

}  // namespace mininn::testing
