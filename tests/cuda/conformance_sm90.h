// A block runs the wrappers of cuda/device_sm90.h. On a CUDA device of compute capability 9.0.
#pragma once

#include <cstdint>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "ops/conv2d.h"

namespace mininn::testing {

// Whether it is of compute capability 9.0.
bool is_sm90(Device d);

// Whether such images are said to be describable. Throws if the driver does not describe them then.
bool describes(Device d, const Conv2dGeometry& g, DType dtype, int64_t pixel_bytes);

// Rounds of 128 bytes through a ring of two slots between two times 128 threads. The reader of a byte is another thread
// than its writer, and adds the number of the round to it.
std::vector<uint8_t> through_barriers(Device d, const std::vector<uint8_t>& bytes);

// At most 16 KiB by copies of 512 bytes, two on a barrier.
std::vector<uint8_t> copy_bulk(Device d, const std::vector<uint8_t>& bytes);

// What copy_pixels() brings of images, a copy behind the other: first one from this pixel of a result and this tap on,
// from these channels on.
struct PixelCopy {
  int64_t pixel;
  int tap_h, tap_w, channel;
};
std::vector<uint8_t> copy_pixels(Device d, const Conv2dGeometry& g, DType dtype, int64_t pixel_bytes,
                                 const std::vector<uint8_t>& images, const std::vector<PixelCopy>& copies);

// sums + a b, twice, for a of 64 rows and b of `columns`, of 64 bytes each as matrix_of_rows() has them: threads write
// the operands of the first to shared memory, copies those of the second. The sums lie row by row.
template <class Acc>
std::vector<Acc> multiply(Device d, int columns, const std::vector<Acc>& sums, const std::vector<uint8_t>& a,
                          const std::vector<uint8_t>& b);

}  // namespace mininn::testing
