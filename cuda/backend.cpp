#include "cuda/backend.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/error.h"
#include "cuda/check.h"
#include "cuda/staging.h"

namespace mininn::cuda {
namespace {

std::string version_text(int v) { return message(v / 1000, '.', v % 1000 / 10); }

// Of calls whose failure nobody can mend: the next call must not be blamed for it.
void ignore_error(cudaError_t e) {
  if (e != cudaSuccess) (void)cudaGetLastError();
}

constexpr int kCapability = 8;  // the least that kernels here are written for

int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  ignore_error(cudaDeviceGetAttribute(&value, which, index));
  return value;
}

// Whether it runs what is compiled here, and has the allocator.
bool is_usable(int index, int& major, int& minor) {
  major = attribute(cudaDevAttrComputeCapabilityMajor, index);
  minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
  return major >= kCapability && attribute(cudaDevAttrMemoryPoolsSupported, index) != 0;
}

// How many devices there are: those before the first that is of no use (the runtime puts faster ones first, unless
// CUDA_DEVICE_ORDER says otherwise). `why` says why there is none.
int count_devices(std::string& why) {
  int driver = 0, runtime = 0, devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    why = "this machine has no NVIDIA driver";
    return 0;
  }
  const cudaError_t e = cudaGetDeviceCount(&devices);
  ignore_error(e);  // it is told here
  if (e == cudaErrorInsufficientDriver) {
    (void)cudaRuntimeGetVersion(&runtime);
    why = message("the NVIDIA driver is for CUDA ", version_text(driver), " and older, this program needs ",
                  version_text(runtime));
  } else if (e == cudaErrorNoDevice || (e == cudaSuccess && devices == 0)) {
    why = "the NVIDIA driver finds no GPU";
  } else if (e != cudaSuccess) {
    why = message("the NVIDIA driver does not answer: ", cudaGetErrorString(e));
  }
  if (e != cudaSuccess) return 0;
  int usable = 0, major = 0, minor = 0;
  while (usable < devices && is_usable(usable, major, minor)) ++usable;
  if (usable == 0 && devices > 0)
    why = message("the GPU is of compute capability ", major, '.', minor,
                  ", or without memory pools; this program needs ", kCapability,
                  ".0 with them (CUDA_VISIBLE_DEVICES can hide it from programs)");
  return usable;
}

void use_device(int index) { MININN_CUDA_CHECK(cudaSetDevice(index)); }

std::shared_ptr<void> make_stream(int index) {
  use_device(index);
  cudaStream_t s = nullptr;
  MININN_CUDA_CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
  return {s, [](void* p) { ignore_error(cudaStreamDestroy(static_cast<cudaStream_t>(p))); }};
}

// The driver's own stream-ordered allocator, told to keep what comes back.
class PoolAllocator final : public Allocator {
 public:
  explicit PoolAllocator(int index) : index_(index) {
    MININN_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool_, index));
    uint64_t all = UINT64_MAX;
    MININN_CUDA_CHECK(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &all));
  }

  void* allocate(size_t bytes, const Stream& stream) override {
    if (bytes > size_t(PTRDIFF_MAX)) throw ShapeError(message("no memory has ", bytes, " bytes"));
    void* p = nullptr;
    const size_t least = std::max<size_t>(bytes, 1);  // nothing has no address
    cudaError_t e = cudaMallocAsync(&p, least, stream_of(stream));
    if (e == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      throw Error(message("out of memory on ", to_string(Device::cuda(index_)), ": ", bytes, " bytes wanted, ",
                          live_.load(), " in use"));
    }
    check(e, "cudaMallocAsync");
    const size_t live = live_ += bytes;
    for (size_t peak = peak_; peak < live && !peak_.compare_exchange_weak(peak, live);) continue;
    return p;
  }
  void deallocate(void* p, size_t bytes, const Stream& stream) noexcept override {
    live_ -= bytes;
    try {
      ignore_error(cudaFreeAsync(p, stream_of(stream)));
    } catch (...) {  // the process ends, and the driver has gone before
    }
  }
  MemoryStats stats() const override {
    uint64_t reserved = 0;
    MININN_CUDA_CHECK(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &reserved));
    const size_t live = live_;
    return {.live_bytes = live, .cached_bytes = reserved > live ? size_t(reserved) - live : 0, .peak_bytes = peak_};
  }
  void release_cached() override { MININN_CUDA_CHECK(cudaMemPoolTrimTo(pool_, 0)); }

 private:
  int index_;
  cudaMemPool_t pool_ = nullptr;
  std::atomic<size_t> live_ = 0, peak_ = 0;
};

// Asks the driver nothing, and makes no context on a device, before somebody does: programs that stay on the CPU pay
// for neither.
class CudaBackend final : public Backend {
 public:
  int count() const override {
    std::call_once(counted_, [this] { devices_ = std::vector<PerDevice>(size_t(count_devices(why_))); });
    return int(devices_.size());
  }
  std::string why_none() const override { return why_; }
  Allocator& memory(int index) override { return *opened(index).allocator; }

  void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
            const Stream& stream) override {
    const cudaStream_t s = stream_of(stream);
    if (to_device.type == from_device.type && to_device.index != from_device.index) {
      MININN_CUDA_CHECK(cudaMemcpyPeerAsync(to, to_device.index, from, from_device.index, bytes, s));
      return;
    }
    const bool from_host = from_device.type == DeviceType::cpu, to_host = to_device.type == DeviceType::cpu;
    if ((from_host || to_host) && taking_down_) throw Error("CUDA: a copy from or to the host cannot be repeated");
    if (from_host)
      opened(stream.device.index).staging.copy(to, from, bytes, s);
    else
      MININN_CUDA_CHECK(
          cudaMemcpyAsync(to, from, bytes, to_host ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice, s));
  }

  Stream new_stream(int index) override { return {Device::cuda(index), make_stream(index)}; }
  void synchronize(const Stream& stream) override { MININN_CUDA_CHECK(cudaStreamSynchronize(stream_of(stream))); }
  Event record(const Stream& stream) override {
    const cudaStream_t s = stream_of(stream);
    cudaEvent_t e = nullptr;
    MININN_CUDA_CHECK(cudaEventCreateWithFlags(&e, cudaEventDisableTiming));
    Event event{{e, [](void* p) { ignore_error(cudaEventDestroy(static_cast<cudaEvent_t>(p))); }}};
    MININN_CUDA_CHECK(cudaEventRecord(e, s));
    return event;
  }
  void wait(const Stream& stream, const Event& event) override {
    MININN_CUDA_CHECK(cudaStreamWaitEvent(stream_of(stream), static_cast<cudaEvent_t>(event.handle.get()), 0));
  }

  std::shared_ptr<void> take_down(const Stream& stream, const std::function<void()>& ask) override {
    const cudaStream_t s = stream_of(stream);
    // Relaxed: what another thread asks for meanwhile, or a library when it prepares a call, is no part of it.
    MININN_CUDA_CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed));
    taking_down_ = true;
    bool repeats = true;
    try {
      ask();
    } catch (...) {  // if that was not the fault of taking it down, asking for it will throw again
      repeats = false;
    }
    taking_down_ = false;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(s, &graph);
    ignore_error(ended);
    if (repeats && ended == cudaSuccess) ignore_error(cudaGraphInstantiate(&ready, graph, 0));
    if (graph) ignore_error(cudaGraphDestroy(graph));
    if (!ready) return nullptr;
    return {ready, [](void* p) { ignore_error(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(p))); }};
  }
  void replay(const Stream& stream, const std::shared_ptr<void>& taken) override {
    MININN_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(taken.get()), stream_of(stream)));
  }

  cudaStream_t default_stream(int index) { return static_cast<cudaStream_t>(opened(index).stream.get()); }

 private:
  struct PerDevice {
    std::once_flag once;
    std::shared_ptr<void> stream;  // the default one: not the runtime's, which cannot be captured
    std::unique_ptr<PoolAllocator> allocator;
    Staging staging;
  };
  PerDevice& opened(int index) {  // that exists
    PerDevice& d = devices_[size_t(index)];
    std::call_once(d.once, [&] {
      d.stream = make_stream(index);
      d.allocator = std::make_unique<PoolAllocator>(index);
    });
    return d;
  }

  mutable std::once_flag counted_;
  mutable std::string why_;
  mutable std::vector<PerDevice> devices_;
  static inline thread_local bool taking_down_ = false;
};

// Never destroyed: tensors with static storage duration may outlive every other static.
CudaBackend& the_backend() {
  static auto* const b = new CudaBackend;
  return *b;
}

}  // namespace

void check(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  (void)cudaGetLastError();  // or the next call would be blamed for it
  throw Error(message("CUDA: ", call, ": ", cudaGetErrorString(result)));
}

cudaStream_t stream_of(const Stream& s) {
  CudaBackend& b = the_backend();
  if (s.device.type != DeviceType::cuda || s.device.index < 0 || s.device.index >= b.count())
    throw DeviceError(message("there is no CUDA device ", to_string(s.device)));
  use_device(s.device.index);
  return s.handle ? static_cast<cudaStream_t>(s.handle.get()) : b.default_stream(s.device.index);
}

Device device_of(const void* p) {
  cudaPointerAttributes attributes{};
  MININN_CUDA_CHECK(cudaPointerGetAttributes(&attributes, p));
  if (attributes.type != cudaMemoryTypeDevice) throw Error("CUDA: an address that is no device's memory");
  return Device::cuda(attributes.device);
}

int current_device() {
  int index = 0;
  ignore_error(cudaGetDevice(&index));  // no driver: whoever needs one says so
  return index;
}

int current_capability() {
  const int device = current_device();
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

void install_backend() { set_backend(DeviceType::cuda, the_backend()); }

}  // namespace mininn::cuda
