#include "tests/cuda/conformance.h"

#include <cstring>

#include "core/tensor.h"
#include "cuda/device.h"
#include "cuda/launch.h"

namespace mininn::testing {
namespace {

constexpr int kLanes = 32, kGroups = 3, kGroupBytes = 16 * kLanes;

// Bytes on a device.
template <class T>
Tensor on(Device d, const T& value) {
  Tensor t = Tensor::empty({int64_t(sizeof(T))}, DType::u8);
  std::memcpy(t.mutable_view().data, &value, sizeof(T));
  return t.to(d);
}
template <class T>
T fetch(const Tensor& t) {
  T value;
  std::memcpy(&value, t.to(Device::cpu()).view().data, sizeof(T));
  return value;
}
template <class T>
T* pointer(Tensor& t) {
  return reinterpret_cast<T*>(t.mutable_view().data);
}

__global__ void load_kernel(bool transposed, const uint32_t* matrices, const int* chunk, uint32_t* out) {
  __shared__ __align__(16) uint32_t shared[kLanes * 4];
  const int lane = int(threadIdx.x);
  for (int i = 0; i < 4; ++i) shared[lane * 4 + i] = matrices[lane * 4 + i];
  __syncthreads();
  uint32_t to[4];
  transposed ? cuda::load_transposed(to, shared + chunk[lane] * 4) : cuda::load_matrices(to, shared + chunk[lane] * 4);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = to[i];
}

__device__ inline void multiply(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  cuda::multiply_u8_s8(d, a, b0, b1);
}
__device__ inline void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  cuda::multiply_bf16(d, a, b0, b1);
}

template <class T>
__global__ void multiply_kernel(const uint32_t* a, const uint32_t* b, T* sum) {
  const int lane = int(threadIdx.x);
  uint32_t left[4];
  T d[4];
  for (int i = 0; i < 4; ++i) {
    left[i] = a[lane * 4 + i];
    d[i] = sum[lane * 4 + i];
  }
  multiply(d, left, b[lane * 2], b[lane * 2 + 1]);
  for (int i = 0; i < 4; ++i) sum[lane * 4 + i] = d[i];
}

template <class T>
PerLane<T, 4> multiply(Device device, const PerLane<T, 4>& sum, const PerLane<uint32_t, 4>& a,
                       const PerLane<uint32_t, 2>& b) {
  Tensor left = on(device, a), right = on(device, b), d = on(device, sum);
  cuda::launch(multiply_kernel<T>, {1, kLanes}, {device, current_stream(device)}, pointer<uint32_t>(left),
               pointer<uint32_t>(right), pointer<T>(d));
  return fetch<PerLane<T, 4>>(d);
}

template <int kBytes>
__device__ inline void copy_group(unsigned char* shared, const unsigned char* from) {
  for (int b = 0; b < 16; b += kBytes)
    cuda::copy_async<kBytes>(shared + threadIdx.x * 16 + b, from + threadIdx.x * 16 + b);
  cuda::close_copy_group();
}
template <int kLeft>
__device__ inline void read_group(const unsigned char* shared, int group, unsigned char* to) {
  cuda::wait_for_copies<kLeft>();
  __syncthreads();
  const int other = (int(threadIdx.x) + 1) % kLanes;  // another lane's bytes
  for (int b = 0; b < 16; ++b) to[group * kGroupBytes + other * 16 + b] = shared[group * kGroupBytes + other * 16 + b];
}

template <int kBytes>
__global__ void copy_kernel(const unsigned char* from, unsigned char* to) {
  __shared__ __align__(16) unsigned char shared[kGroups * kGroupBytes];
  for (int g = 0; g < kGroups; ++g) copy_group<kBytes>(shared + g * kGroupBytes, from + g * kGroupBytes);
  read_group<2>(shared, 0, to);
  read_group<1>(shared, 1, to);
  read_group<0>(shared, 2, to);
}

}  // namespace

PerLane<uint32_t, 4> load(Device d, bool transposed, const std::vector<uint8_t>& matrices,
                          const std::array<int, 32>& chunk) {
  Tensor from = Tensor::from(matrices, {int64_t(matrices.size())}).to(d), places = on(d, chunk);
  Tensor out = on(d, PerLane<uint32_t, 4>());
  cuda::launch(load_kernel, {1, kLanes}, {d, current_stream(d)}, transposed, pointer<uint32_t>(from),
               pointer<int>(places), pointer<uint32_t>(out));
  return fetch<PerLane<uint32_t, 4>>(out);
}

PerLane<int32_t, 4> multiply_u8_s8(Device d, const PerLane<int32_t, 4>& sum, const PerLane<uint32_t, 4>& a,
                                   const PerLane<uint32_t, 2>& b) {
  return multiply(d, sum, a, b);
}
PerLane<float, 4> multiply_bf16(Device d, const PerLane<float, 4>& sum, const PerLane<uint32_t, 4>& a,
                                const PerLane<uint32_t, 2>& b) {
  return multiply(d, sum, a, b);
}

std::vector<uint8_t> copy(Device d, int bytes_at_once, const std::vector<uint8_t>& from) {
  Tensor source = Tensor::from(from, {int64_t(from.size())}).to(d), to = Tensor::zeros(source.shape(), DType::u8, d);
  cuda::launch(bytes_at_once == 16 ? copy_kernel<16> : copy_kernel<4>, {1, kLanes}, {d, current_stream(d)},
               pointer<unsigned char>(source), pointer<unsigned char>(to));
  const Tensor arrived = to.to(Device::cpu());
  const auto bytes = arrived.data<uint8_t>();
  return {bytes.begin(), bytes.end()};
}

}  // namespace mininn::testing
