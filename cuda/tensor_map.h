// How copy_pixels() (device_sm90.h) is told of the images that a convolution reads.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/kernel.h"
#include "ops/conv2d.h"

namespace mininn::cuda {

inline constexpr int kMapPixels = 128, kMapBytes = 64;  // that a copy brings, and of each of them

// Images in a device's memory, pixel by pixel without gaps but behind a pixel's channels.
struct Images {
  const std::byte* data;
  DType dtype;          // u8 or bf16
  int64_t pixel_bytes;  // from one to the next
};

// Why images of a convolution's input cannot be described: it is the driver's, or the hardware's counters are too
// short.
Refusal check_map(const Conv2dGeometry& g, const Images& x);

// The description. A copy that starts at the first pixel of tap (0, 0) brings those for as many pixels of the result.
// Throws Error if the driver does not take what check_map() takes.
CUtensorMap make_map(const Conv2dGeometry& g, const Images& x);

}  // namespace mininn::cuda
