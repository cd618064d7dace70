// The CUDA runtime: devices, streams, events, memory, copies.

#include <cuda.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/cuda/emulate/emulate.h"
#include "tests/cuda/emulate/watch.h"
#include "tests/support/lazy_device.h"

using mininn::testing::lazy::Heap;
using mininn::testing::lazy::Mark;
using mininn::testing::lazy::Memory;
using mininn::testing::lazy::Queue;

namespace emulate {

// What a capture has taken down. Memory that was allocated meanwhile is the graph's as long as it lives.
struct Work {
  std::shared_ptr<Queue> queue;
  Heap* heap = nullptr;
  std::vector<std::function<void()>> steps;
  std::map<void*, size_t> memory;

  ~Work() {
    for (const auto& [p, bytes] : memory) heap->deallocate(p, bytes, *queue);
  }
};
struct Graph {
  std::shared_ptr<Work> work;
};
struct GraphExec {
  std::shared_ptr<const Work> work;
};

struct Stream {
  std::shared_ptr<Queue> queue;
  int device = 0;
  std::shared_ptr<Work> capture = nullptr;
};
struct Event {
  Mark mark;
};
struct Pool {
  int device = 0;
};

namespace {

constexpr int kDevices = 2, kVersion = 13000;

struct Block {
  size_t bytes;
  int device;
};

struct Machine {
  Memory memory{kDevices};
  Heap heaps[kDevices] = {{memory, 0}, {memory, 1}};
  Pool pools[kDevices] = {{0}, {1}};
  std::map<void*, Block> blocks;
  std::map<const std::byte*, size_t> pinned;
  uint64_t graph_launches = 0;
  uint64_t reserved[kDevices] = {};
  cudaError_t state = cudaSuccess;
  int driver = kVersion, capability = 90;
  std::map<const void*, size_t> shared;  // of kernels that asked
};

// Each host thread has its own.
struct PerThread {
  int device = 0;  // of cudaSetDevice()
  cudaError_t last = cudaSuccess;
};
thread_local constinit PerThread mine;

Machine& machine() {
  static auto* const m = new Machine;  // memory of static tensors comes back after every other static has gone
  return *m;
}

cudaError_t done(cudaError_t e) {
  if (e != cudaSuccess) mine.last = e;
  return e;
}

bool is_pinned(const void* p) {
  const auto* const byte = static_cast<const std::byte*>(p);
  auto after = machine().pinned.upper_bound(byte);
  return after != machine().pinned.begin() && byte < (--after)->first + after->second;
}

}  // namespace

void set_capability(int capability) { machine().capability = capability; }
void set_driver(cudaError_t state, int version) {
  machine().state = state;
  machine().driver = version;
}

std::span<std::byte> memory_of(cudaStream_t stream) { return {machine().memory.of(stream->device), Memory::kBytes}; }

size_t shared_limit(const void* kernel) {
  const auto found = machine().shared.find(kernel);
  return found == machine().shared.end() ? size_t{48} << 10 : found->second;
}
cudaError_t set_shared_limit(const void* kernel, int bytes) {
  if (bytes < 0 || size_t(bytes) > kDynamicShared) return done(cudaErrorInvalidValue);
  machine().shared[kernel] = size_t(bytes);
  return cudaSuccess;
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream->capture)
    stream->capture->steps.push_back(std::move(work));
  else
    stream->queue->push(std::move(work));
}

uint64_t graph_launches() { return machine().graph_launches; }

}  // namespace emulate

using namespace emulate;

const char* cudaGetErrorString(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(mine.last, cudaSuccess); }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine().state == cudaSuccess ? kDevices : 0;
  return done(machine().state);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const int capability = machine().capability;
  *value = attribute == cudaDevAttrComputeCapabilityMajor   ? capability / 10
           : attribute == cudaDevAttrComputeCapabilityMinor ? capability % 10
                                                            : 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return done(cudaErrorInvalidDevice);
  mine.device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = mine.device;
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::string_view(symbol) == "cuTensorMapEncodeIm2col";
  *function = known ? reinterpret_cast<void*>(&cuTensorMapEncodeIm2col) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream{std::make_shared<Queue>(machine().memory), mine.device};
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {  // what was asked of it is still done
  stream->queue->run();
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->capture) return done(cudaErrorStreamCaptureUnsupported);
  stream->queue->run();
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (stream->capture) return done(cudaErrorStreamCaptureUnsupported);  // here: a graph of several streams is possible
  enqueue(stream, [mark = event->mark] {
    if (mark.queue) mark.queue->run(mark.count);
  });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream->capture) return done(cudaErrorStreamCaptureUnsupported);
  event->mark = {stream->queue, stream->queue->pushed()};
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->mark.queue) event->mark.queue->run(event->mark.count);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const auto& memory = machine().memory;
  const bool from_device = kind != cudaMemcpyHostToDevice, to_device = kind != cudaMemcpyDeviceToHost;
  if (bytes > 0 && (memory.holds(from) != from_device || memory.holds(to) != to_device))
    return done(cudaErrorInvalidValue);
  if (stream->capture) {
    if (!from_device || !to_device) return done(cudaErrorStreamCaptureUnsupported);
    enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
  }
  // Pinned memory is read when the copy's turn has come, other memory now.
  mininn::testing::lazy::copy(to, !to_device, from, !from_device && !is_pinned(from), bytes, *stream->queue);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** p, size_t bytes) {
  *p = ::operator new(bytes);
  machine().pinned[static_cast<const std::byte*>(*p)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = &machine().pools[device];
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr, void* value) {
  *static_cast<uint64_t*>(value) = machine().reserved[pool->device];
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream) {
  Machine& m = machine();
  Heap& heap = m.heaps[stream->device];
  *p = heap.allocate(bytes, *stream->queue);
  if (!*p) {  // what the stream has yet to give back may serve, as it does where work has begun long ago
    stream->queue->run();
    *p = heap.allocate(bytes, *stream->queue);
  }
  if (!*p) return done(cudaErrorMemoryAllocation);
  const size_t size = Heap::rounded(bytes);
  if (stream->capture) {
    stream->capture->memory[*p] = bytes;
    enqueue(stream, [p = *p, size] { std::memset(p, mininn::testing::lazy::kPoison, size); });
    return cudaSuccess;
  }
  m.blocks[*p] = {bytes, stream->device};
  m.reserved[stream->device] += size;
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  Machine& m = machine();
  if (stream->capture) {
    const auto own = stream->capture->memory.find(p);
    if (own == stream->capture->memory.end()) return done(cudaErrorInvalidValue);
    enqueue(stream, [p, size = Heap::rounded(own->second)] { std::memset(p, mininn::testing::lazy::kPoison, size); });
    return cudaSuccess;
  }
  const auto found = m.blocks.find(p);
  if (found == m.blocks.end()) return done(cudaErrorInvalidValue);
  m.heaps[found->second.device].deallocate(p, found->second.bytes, *stream->queue);
  m.reserved[found->second.device] -= Heap::rounded(found->second.bytes);
  m.blocks.erase(found);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream->capture) return done(cudaErrorStreamCaptureUnsupported);
  stream->capture = std::make_shared<Work>();
  stream->capture->queue = stream->queue;
  stream->capture->heap = &machine().heaps[stream->device];
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->capture) return done(cudaErrorInvalidValue);
  *graph = new Graph{std::exchange(stream->capture, nullptr)};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new GraphExec{graph->work};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  ++machine().graph_launches;
  enqueue(stream, [work = exec->work] {
    for (const auto& step : work->steps) step();
  });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const Memory& memory = machine().memory;
  if (!memory.holds(p))
    *attributes = {cudaMemoryTypeUnregistered, -2};
  else
    *attributes = {cudaMemoryTypeDevice, static_cast<const std::byte*>(p) < memory.of(1) ? 0 : 1};
  return cudaSuccess;
}
