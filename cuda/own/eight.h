// Eight neighbours in memory, which a thread moves at once: 32 bytes of a row that four lanes write are one sector for
// the device, and as many as it has bytes if they come one by one.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>

#include "cuda/launch.h"

namespace mininn::cuda::own {

template <class T>
struct alignas(sizeof(T) * 8 < 16 ? sizeof(T) * 8 : 16) Eight {
  T v[8];
};
// The same bits in as few words as there are: of smaller ones the compiler makes a store each.
template <class T>
struct alignas(alignof(Eight<T>)) Words {
  uint64_t v[sizeof(Eight<T>) / sizeof(uint64_t)];
};

// The first `count` of eight, the others 0.
template <class T>
__device__ inline Eight<T> load_eight(const T* from, int count) {
  if (count == 8 && std::bit_cast<uintptr_t>(from) % alignof(Eight<T>) == 0)
    return std::bit_cast<Eight<T>>(*reinterpret_cast<const Words<T>*>(from));
  Eight<T> e = {};
  MININN_UNROLL for (int i = 0; i < 8; ++i) if (i < count) e.v[i] = from[i];
  return e;
}

template <class T>
__device__ inline void store_eight(T* to, const Eight<T>& e, int count) {
  if (count == 8 && std::bit_cast<uintptr_t>(to) % alignof(Eight<T>) == 0) {
    *reinterpret_cast<Words<T>*>(to) = std::bit_cast<Words<T>>(e);
    return;
  }
  MININN_UNROLL for (int i = 0; i < 8; ++i) if (i < count) to[i] = e.v[i];
}

}  // namespace mininn::cuda::own
