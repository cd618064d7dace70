// One warp runs one wrapper of cuda/device.h: its lanes' registers go in and come out. On any CUDA device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/device.h"

namespace mininn::testing {

template <class T, size_t N>
using PerLane = std::array<std::array<T, N>, 32>;

// load_matrices(), or load_transposed(), of four matrices of 8 rows of 16 bytes. Row number `chunk[l]` of all 32, which
// lie one behind the other, is the one that lane l brings the address of.
PerLane<uint32_t, 4> load(Device d, bool transposed, const std::vector<uint8_t>& matrices,
                          const std::array<int, 32>& chunk);

// d + a b.
PerLane<int32_t, 4> multiply_u8_s8(Device d, const PerLane<int32_t, 4>& sum, const PerLane<uint32_t, 4>& a,
                                   const PerLane<uint32_t, 2>& b);
PerLane<float, 4> multiply_bf16(Device d, const PerLane<float, 4>& sum, const PerLane<uint32_t, 4>& a,
                                const PerLane<uint32_t, 2>& b);

// Bytes as three groups of copies of 4 or 16 bytes bring them to shared memory, each read when wait_for_copies() says
// that it is there.
std::vector<uint8_t> copy(Device d, int bytes_at_once, const std::vector<uint8_t>& from);

}  // namespace mininn::testing
