// Stands in for the CUDA runtime's header where there is no CUDA: the language of kernels for g++, and as much of the
// runtime as this project calls, carried out on the CPU (emulate.h says how). The meaning of each name is NVIDIA's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static  // blocks run one after the other

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0, cudaDriverEntryPointSymbolNotFound = 1 };
inline constexpr unsigned long long cudaEnableDefault = 0;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMemoryPoolsSupported = 115,
};
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4, cudaMemPoolAttrReservedMemCurrent = 5 };
inline constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct CUtensorMap_st;  // of the driver's header

namespace emulate {
struct Stream;
struct Event;
struct Pool;
struct Graph;
struct GraphExec;
}  // namespace emulate
using cudaStream_t = emulate::Stream*;
using cudaEvent_t = emulate::Event*;
using cudaMemPool_t = emulate::Pool*;
using cudaGraph_t = emulate::Graph*;
using cudaGraphExec_t = emulate::GraphExec*;

enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };

enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2 };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};

const char* cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long flags, cudaDriverEntryPointQueryResult* result);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                                cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p);

// --- starting kernels -----------------------------------------------------------------------------------------------

// What is compiled with this makes no calls for its loads and stores (watch.h): it reads what is the host's.
#define EMULATE_UNWATCHED __attribute__((no_sanitize("thread")))

namespace emulate {

// Does `work` in the order of the stream.
void enqueue(cudaStream_t stream, std::function<void()> work);

// Runs `thread(it)` once for each thread of a grid, now, on the device of the stream. Ends the process with a message
// if some threads of a block wait for others that have ended or wait elsewhere.
void run_grid(void (*thread)(const void*), const void* it, dim3 grid, dim3 block, size_t shared, cudaStream_t stream);

// Of dynamic shared memory: what a block has at most, how much a kernel may have, and how much from now on.
inline constexpr size_t kDynamicShared = size_t{227} << 10;
size_t shared_limit(const void* kernel);
cudaError_t set_shared_limit(const void* kernel, int bytes);

// kernel<<<grid, block, shared, stream>>>(args...)
template <class... Params>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   const std::type_identity_t<Params>&... args) {
  static_assert((std::is_trivially_copyable_v<Params> && ...));
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535)
    return cudaErrorInvalidConfiguration;
  if (shared > shared_limit(reinterpret_cast<const void*>(kernel))) return cudaErrorInvalidValue;
  const auto call = [=]() EMULATE_UNWATCHED { kernel(args...); };
  const auto thread = [](const void* it) EMULATE_UNWATCHED { (*static_cast<decltype(&call)>(it))(); };
  enqueue(stream, [=] { run_grid(thread, &call, grid, block, shared, stream); });
  return cudaSuccess;
}

}  // namespace emulate

template <class... Params>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Params...), cudaFuncAttribute, int bytes) {
  return emulate::set_shared_limit(reinterpret_cast<const void*>(kernel), bytes);
}

// --- inside of kernels ----------------------------------------------------------------------------------------------

namespace emulate {

// The thread that runs. To the thread it is a constant, so that reading it is not watched.
struct Index {
  unsigned x, y, z;
};
struct Here {
  Index thread, block, block_dim, grid_dim;
};
extern const Here here __asm__("emulate_here");

// Gives each thread of a warp what the thread `from` of the warp had for `value`, which has `bytes`, at most 8.
void shuffle(void* value, size_t bytes, int from);
int lane();

// The instructions of cuda/device.h. A copy arrives at once or as late as it may: that is drawn.
void copy_async(void* shared, const void* global, int bytes);
void close_copy_group();
void wait_for_copies(int left);
void load_matrices(uint32_t (&to)[4], const void* row);
void load_transposed(uint32_t (&to)[4], const void* row);
void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void multiply_u8_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

// Those of cuda/device_sm90.h. A copy arrives, and a product is made, at once or later: that is drawn.
unsigned char* dynamic_shared();
uint32_t shared_address(const void* shared);
void init_barrier(uint64_t* barrier, unsigned arrivals);
void arrive(uint64_t* barrier, unsigned bytes);
void wait_for_phase(uint64_t* barrier, uint32_t parity);
void fence_async_proxy();
void copy_bulk(void* shared, const void* global, unsigned bytes, uint64_t* barrier);
void copy_pixels(void* shared, const CUtensorMap_st& map, int channel, int w, int h, int n, int tap_w, int tap_h,
                 uint64_t* barrier);
void fence_products(void* sums, size_t bytes);
void close_product_group();
void wait_for_products(int left);
void start_product(int32_t (*sums)[4], int columns, uint64_t a, uint64_t b);
void start_product(float (*sums)[4], int columns, uint64_t a, uint64_t b);

void watch_atomic(void* p, size_t bytes);

}  // namespace emulate

#define threadIdx (::emulate::here.thread)
#define blockIdx (::emulate::here.block)
#define blockDim (::emulate::here.block_dim)
#define gridDim (::emulate::here.grid_dim)

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);

template <class T>
T __shfl_xor_sync(unsigned, T v, int lanes) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  emulate::shuffle(&v, sizeof v, emulate::lane() ^ lanes);
  return v;
}

template <class T>
EMULATE_UNWATCHED T atomicAdd(T* p, T v) {
  emulate::watch_atomic(p, sizeof v);
  const T old = *p;
  *p = old + v;
  return old;
}
