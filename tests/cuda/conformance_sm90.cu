#include "tests/cuda/conformance_sm90.h"

#include <cstring>

#include "core/tensor.h"
#include "cuda/device_sm90.h"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"

namespace mininn::testing {
namespace {

constexpr int kGroup = 128, kRow = 64;  // threads of a warpgroup; bytes of a row of a matrix

template <class T>
Tensor on(Device d, const std::vector<T>& values) {
  Tensor t = Tensor::empty({int64_t(values.size() * sizeof(T))}, DType::u8);
  std::memcpy(t.mutable_view().data, values.data(), values.size() * sizeof(T));
  return t.to(d);
}
template <class T>
std::vector<T> fetch(const Tensor& t) {
  std::vector<T> values(size_t(t.numel()) / sizeof(T));
  std::memcpy(values.data(), t.to(Device::cpu()).view().data, values.size() * sizeof(T));
  return values;
}
template <class T>
T* pointer(Tensor& t) {
  return reinterpret_cast<T*>(t.mutable_view().data);
}
ExecContext at(Device d) { return {d, current_stream(d)}; }

__global__ void barrier_kernel(int rounds, const uint8_t* from, uint8_t* to) {
#ifdef MININN_SM90A
  __shared__ uint64_t full[2], empty[2];
  __shared__ uint8_t slots[2][kGroup];
  const int t = int(threadIdx.x) % kGroup;
  if (threadIdx.x == 0)
    for (int i = 0; i < 2; ++i) {
      cuda::init_barrier(&full[i], kGroup);
      cuda::init_barrier(&empty[i], kGroup);
    }
  __syncthreads();
  for (int round = 0; round < rounds; ++round) {
    const int slot = round % 2;
    const uint32_t parity = uint32_t(round / 2 % 2);
    if (threadIdx.x < kGroup) {
      cuda::wait_for_phase(&empty[slot], parity ^ 1);
      slots[slot][t] = from[round * kGroup + t];
      cuda::arrive(&full[slot]);
    } else {
      cuda::wait_for_phase(&full[slot], parity);
      const int other = (t + 37) % kGroup;
      to[round * kGroup + other] = uint8_t(slots[slot][other] + round);
      cuda::arrive(&empty[slot]);
    }
  }
#endif
}

#ifdef MININN_SM90A
// One thread makes a barrier for copies.
__device__ inline void make_barrier(uint64_t* barrier) {
  if (threadIdx.x == 0) {
    cuda::init_barrier(barrier, 1);
    cuda::fence_async_proxy();
  }
  __syncthreads();
}
#endif

constexpr unsigned kCopy = 512;
__global__ void bulk_kernel(int copies, const uint8_t* from, uint8_t* to) {
#ifdef MININN_SM90A
  MININN_DYNAMIC_SHARED(shared);
  __shared__ uint64_t barrier;
  make_barrier(&barrier);
  for (int i = 0; i < copies; i += 2) {
    if (threadIdx.x == 0) {
      cuda::arrive_and_expect(&barrier, 2 * kCopy);
      for (unsigned k = 0; k < 2; ++k)
        cuda::copy_bulk(shared + (unsigned(i) + k) * kCopy, from + (unsigned(i) + k) * kCopy, kCopy, &barrier);
    }
    cuda::wait_for_phase(&barrier, uint32_t(i / 2 % 2));
    for (unsigned k = threadIdx.x; k < 2 * kCopy; k += kGroup)
      to[unsigned(i) * kCopy + k] = shared[unsigned(i) * kCopy + k];
    __syncthreads();  // nobody waits for a phase that is two behind
  }
#endif
}

struct Copies {
  int count;
  cuda::PixelAt from[16];
  uint16_t tap_w[16], tap_h[16];
};
constexpr unsigned kPixelBytes = cuda::kMapPixels * kRow;
__global__ void pixel_kernel(const __grid_constant__ CUtensorMap map, const __grid_constant__ Copies copies,
                             uint8_t* to) {
#ifdef MININN_SM90A
  MININN_DYNAMIC_SHARED(shared);
  __shared__ uint64_t barrier;
  make_barrier(&barrier);
  for (int i = 0; i < copies.count; ++i) {
    for (unsigned k = threadIdx.x; k < kPixelBytes; k += kGroup) shared[k] = 0xee;
    cuda::fence_async_proxy();
    __syncthreads();
    if (threadIdx.x == 0) {
      cuda::arrive_and_expect(&barrier, kPixelBytes);
      cuda::copy_pixels(shared, map, copies.from[i], copies.tap_w[i], copies.tap_h[i], &barrier);
    }
    cuda::wait_for_phase(&barrier, uint32_t(i % 2));
    for (unsigned k = threadIdx.x; k < kPixelBytes; k += kGroup) to[unsigned(i) * kPixelBytes + k] = shared[k];
    __syncthreads();
  }
#endif
}

// The first product is of what threads have written, the second of what copies bring. Both are under way at once.
template <class Acc, int kColumns>
__global__ void product_kernel(const uint8_t* a, const uint8_t* b, Acc* sums) {
#ifdef MININN_SM90A
  constexpr unsigned kA = 64 * kRow, kB = kColumns * kRow;
  MININN_DYNAMIC_SHARED(shared);
  __shared__ uint64_t barrier;
  make_barrier(&barrier);
  const int t = int(threadIdx.x);
  if (t == 0) {
    cuda::arrive_and_expect(&barrier, kA + kB);
    cuda::copy_bulk(shared + kA + kB, a, kA, &barrier);
    cuda::copy_bulk(shared + 2 * kA + kB, b, kB, &barrier);
  }
  for (unsigned i = threadIdx.x; i < kA; i += kGroup) shared[i] = a[i];
  for (unsigned i = threadIdx.x; i < kB; i += kGroup) shared[kA + i] = b[i];
  cuda::fence_async_proxy();
  __syncthreads();
  Acc d[kColumns / 8][4];
  const auto place = [&](int j, int i) {
    return (t / 32 * 16 + t % 32 / 4 + i / 2 * 8) * kColumns + 8 * j + t % 4 * 2 + i % 2;
  };
  MININN_UNROLL for (int j = 0; j < kColumns / 8; ++j) MININN_UNROLL for (int i = 0; i < 4; ++i) d[j][i] =
      sums[place(j, i)];
  const auto multiply = [&](uint32_t x) {
    for (int part = 0; part < 4; part += 2)
      cuda::start_product(d, cuda::matrix_of_rows(x, part), cuda::matrix_of_rows(x + kA, part));
    cuda::close_product_group();
  };
  cuda::fence_products(d);
  multiply(cuda::shared_address(shared));
  cuda::wait_for_phase(&barrier, 0);
  multiply(cuda::shared_address(shared) + kA + kB);
  cuda::wait_for_products<1>(d);
  cuda::wait_for_products<0>(d);
  MININN_UNROLL for (int j = 0; j < kColumns / 8; ++j) MININN_UNROLL for (int i = 0; i < 4; ++i) sums[place(j, i)] =
      d[j][i];
#endif
}

}  // namespace

bool is_sm90(Device d) {
  (void)cuda::stream_of(current_stream(d));  // which makes it current
  return cuda::current_capability() == 90;
}

bool describes(Device d, const Conv2dGeometry& g, DType dtype, int64_t pixel_bytes) {
  const Tensor memory = Tensor::empty({64}, DType::u8, d);
  const cuda::Images images{memory.view().data, dtype, pixel_bytes};
  if (cuda::check_map(g, images)) return false;
  (void)cuda::make_map(g, images);
  return true;
}

std::vector<uint8_t> through_barriers(Device d, const std::vector<uint8_t>& bytes) {
  Tensor from = on(d, bytes), to = Tensor::zeros(from.shape(), DType::u8, d);
  cuda::launch(barrier_kernel, {1, 2 * kGroup}, at(d), int(bytes.size()) / kGroup, pointer<uint8_t>(from),
               pointer<uint8_t>(to));
  return fetch<uint8_t>(to);
}

std::vector<uint8_t> copy_bulk(Device d, const std::vector<uint8_t>& bytes) {
  Tensor from = on(d, bytes), to = Tensor::zeros(from.shape(), DType::u8, d);
  cuda::launch(bulk_kernel, {1, kGroup, int(bytes.size())}, at(d), int(bytes.size() / kCopy), pointer<uint8_t>(from),
               pointer<uint8_t>(to));
  return fetch<uint8_t>(to);
}

std::vector<uint8_t> copy_pixels(Device d, const Conv2dGeometry& g, DType dtype, int64_t pixel_bytes,
                                 const std::vector<uint8_t>& images, const std::vector<PixelCopy>& copies) {
  Tensor x = on(d, images), to = Tensor::zeros({int64_t(copies.size() * kPixelBytes)}, DType::u8, d);
  Copies all{int(copies.size()), {}, {}, {}};
  for (size_t i = 0; i < copies.size(); ++i) {
    const PixelCopy& c = copies[i];
    const int64_t row = c.pixel / g.ow;
    all.from[i] = {c.channel, int(c.pixel % g.ow * g.stride_w - g.pad_w), int(row % g.oh * g.stride_h - g.pad_h),
                   int(row / g.oh)};
    all.tap_w[i] = uint16_t(c.tap_w * g.dil_w);
    all.tap_h[i] = uint16_t(c.tap_h * g.dil_h);
  }
  cuda::launch(pixel_kernel, {1, kGroup, int(kPixelBytes)}, at(d),
               cuda::make_map(g, {x.view().data, dtype, pixel_bytes}), all, pointer<uint8_t>(to));
  return fetch<uint8_t>(to);
}

template <class Acc>
std::vector<Acc> multiply(Device d, int columns, const std::vector<Acc>& sums, const std::vector<uint8_t>& a,
                          const std::vector<uint8_t>& b) {
  Tensor left = on(d, a), right = on(d, b), to = on(d, sums);
  cuda::launch(columns == 64 ? product_kernel<Acc, 64> : product_kernel<Acc, 128>,
               {1, kGroup, 2 * (64 + columns) * kRow}, at(d), pointer<uint8_t>(left), pointer<uint8_t>(right),
               pointer<Acc>(to));
  return fetch<Acc>(to);
}
template std::vector<int32_t> multiply(Device, int, const std::vector<int32_t>&, const std::vector<uint8_t>&,
                                       const std::vector<uint8_t>&);
template std::vector<float> multiply(Device, int, const std::vector<float>&, const std::vector<uint8_t>&,
                                     const std::vector<uint8_t>&);

}  // namespace mininn::testing
