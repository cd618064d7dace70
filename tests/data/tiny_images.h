// A dataset whose images can be told apart: every byte of image i is i, labels are i mod 3.
#pragma once

#include "data/dataset.h"

inline mininn::data::Dataset tiny_images(int64_t n, int64_t height = 8, int64_t width = 8) {
  using namespace mininn;
  data::Dataset d{
      Tensor::empty({n, 3, height, width}, DType::u8), Tensor::empty({n}, DType::i64), {"a", "b", "c"}, "tiny"};
  const auto pixels = d.images.mutable_data<uint8_t>();
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = uint8_t(int64_t(i) / (3 * height * width));
  const auto labels = d.labels.mutable_data<int64_t>();
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = int64_t(i % 3);
  return d;
}

// Which image of tiny_images() stands at position i.
inline int image_number(const mininn::Tensor& images, int64_t i) {
  return images.data<uint8_t>()[size_t(i * images.numel() / images.size(0))];
}
