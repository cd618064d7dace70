// How a float network's input is made from the bytes of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mininn {

// x = (byte / 255 - mean) / std = (byte - zero_byte) / bytes_per_one, each channel with its own.
struct ImageNormalization {
  std::vector<float> mean, std;

  // Throws ValueError unless there are a finite mean and a finite, positive deviation for each of `channels`.
  void check(int64_t channels) const;

  double zero_byte(size_t channel) const { return 255.0 * double(mean[channel]); }  // hardly ever a whole one
  double bytes_per_one(size_t channel) const { return 255.0 * double(std[channel]); }

  float operator()(uint8_t byte, size_t channel) const {
    return float((double(byte) / 255.0 - double(mean[channel])) / double(std[channel]));
  }
};

}  // namespace mininn
