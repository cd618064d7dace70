#include "tests/support/deferred_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/backend.h"
#include "core/error.h"
#include "core/integers.h"
#include "core/kernel.h"
#include "tests/support/catch.h"
#include "tests/support/kernel_args.h"

namespace mininn::testing {
namespace deferred {
namespace {

constexpr size_t kBytes = size_t{1} << 30;  // of each device; pages that nothing touches cost nothing
constexpr int kDevices = 2;
constexpr int kPoison = 0xff;

// The memory of all devices, closed except while work is done.
class Memory {
 public:
  Memory() : data_(static_cast<std::byte*>(::mmap(nullptr, kBytes * kDevices, PROT_NONE, kFlags, -1, 0))) {
    REQUIRE(data_ != MAP_FAILED);
    ::madvise(data_, kBytes * kDevices, MADV_HUGEPAGE);  // opening and closing takes time by the page
  }
  std::byte* of(int device) const { return data_ + kBytes * size_t(device); }

  // Work may wait for work of another stream: opened once.
  class Open {
   public:
    explicit Open(Memory& m) : memory_(m) {
      if (memory_.opened_++ == 0) memory_.protect(PROT_READ | PROT_WRITE);
    }
    ~Open() {
      if (--memory_.opened_ == 0) memory_.protect(PROT_NONE);
    }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    Memory& memory_;
  };

 private:
  static constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void protect(int access) { REQUIRE(::mprotect(data_, kBytes * kDevices, access) == 0); }

  std::byte* data_;
  int opened_ = 0;
};

Memory& memory() {
  static Memory m;
  return m;
}

class Queue {
 public:
  void push(std::function<void()> work) { work_.push_back(std::move(work)); }
  uint64_t pushed() const { return done_ + work_.size(); }
  // Does the first `count` pieces of work that were ever pushed, as far as they are not done yet.
  void run(uint64_t count) {
    const Memory::Open open(memory());
    while (done_ < count) {
      const std::function<void()> next = std::move(work_.front());
      work_.pop_front();
      ++done_;
      next();
    }
  }

 private:
  std::deque<std::function<void()>> work_;
  uint64_t done_ = 0;
};

struct Mark {
  std::shared_ptr<Queue> queue;
  uint64_t count;
};

std::shared_ptr<Queue> queue_of(const Stream& s) {
  static std::shared_ptr<Queue> defaults[kDevices] = {std::make_shared<Queue>(), std::make_shared<Queue>()};
  if (s.device.type != DeviceType::custom || s.device.index < 0 || s.device.index >= kDevices)
    throw DeviceError(message("there is no deferred device ", to_string(s.device)));
  return s.handle ? std::static_pointer_cast<Queue>(s.handle) : defaults[s.device.index];
}

class DeferredAllocator final : public Allocator {
 public:
  explicit DeferredAllocator(int device) : next_(memory().of(device)), end_(next_ + kBytes) {}

  void* allocate(size_t bytes, const Stream& stream) override {
    const size_t size = rounded(bytes);
    std::byte* p = nullptr;
    if (auto& blocks = free_[size]; !blocks.empty()) {
      p = blocks.back();
      blocks.pop_back();
    } else {
      if (size > size_t(end_ - next_)) throw Error("the deferred device has no memory left");
      p = std::exchange(next_, next_ + size);
    }
    enqueue(stream, [p, size] { std::memset(p, kPoison, size); });
    stats_.live_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
    return p;
  }
  void deallocate(void* p, size_t bytes, const Stream& stream) noexcept override {
    const size_t size = rounded(bytes);
    stats_.live_bytes -= size;
    enqueue(stream, [this, p, size] {
      std::memset(p, kPoison, size);
      free_[size].push_back(static_cast<std::byte*>(p));
    });
  }
  MemoryStats stats() const override { return stats_; }
  void release_cached() override {}

 private:
  static size_t rounded(size_t bytes) { return std::max<size_t>(round_up(bytes, 64), 64); }
  std::byte *next_, *end_;
  std::map<size_t, std::vector<std::byte*>> free_;
  MemoryStats stats_;
};

class DeferredBackend final : public Backend {
 public:
  int count() const override { return kDevices; }
  Allocator& memory(int index) override { return allocators_.at(size_t(index)); }
  void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
            const Stream& stream) override {
    if (from_device.type == DeviceType::cpu) {
      const auto* const p = static_cast<const std::byte*>(from);
      enqueue(stream, [to, host = std::vector(p, p + bytes)] { std::memcpy(to, host.data(), host.size()); });
    } else {
      if (to_device.type == DeviceType::cpu) std::memset(to, kPoison, bytes);
      enqueue(stream, [to, from, bytes] { std::memcpy(to, from, bytes); });
    }
  }
  Stream new_stream(int index) override { return {Device::custom(index), std::make_shared<Queue>()}; }
  void synchronize(const Stream& stream) override {
    const auto queue = queue_of(stream);
    queue->run(queue->pushed());
  }
  Event record(const Stream& stream) override {
    const auto queue = queue_of(stream);
    return {std::make_shared<Mark>(Mark{queue, queue->pushed()})};
  }
  void wait(const Stream& stream, const Event& event) override {
    enqueue(stream, [mark = std::static_pointer_cast<Mark>(event.handle)] { mark->queue->run(mark->count); });
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
