// Pictures in files, and how a network sees them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/tensor.h"

namespace int8_infer {

struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // row by row, the channels of a pixel side by side
};

// A PNG or an 8-bit binary PPM or PGM, converted to grey (1 channel) or RGB (3 channels); transparency is dropped.
// Throws FileError, also for pixels of more than 2^26 bytes (22 million of 8-bit RGB, 8 million of 16-bit RGBA): memory
// is bounded by that and by the size the image claims to have.
Image read_image(const std::filesystem::path& path, int64_t channels);

// u8 [1,C,height,width]: the largest centred part of that shape, scaled. Where it shrinks, each pixel is an average
// with weights that fall off linearly over one new pixel's distance; where it grows, linear interpolation. An image of
// this size stays as it is.
mininn::Tensor fit(const Image& image, int64_t height, int64_t width);

}  // namespace int8_infer
