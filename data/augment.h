// From stored bytes to what a network is fed: crop, flip, cutout and normalisation in one pass.
#pragma once

#include <cstdint>
#include <span>

#include "core/image_normalization.h"
#include "core/tensor.h"
#include "ops/augment.h"

namespace mininn::data {

inline const ImageNormalization kCifar10Normalization{{0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}};

enum class Flip {
  none,
  random,       // each image in each epoch by its own coin
  alternating,  // a coin per image for epoch 0, then the other way round every epoch (Jordan 2024, arXiv:2404.00498)
};

struct AugmentOptions {
  int crop_padding = 0;  // random shift by -padding..padding in each direction
  Border border = Border::black;
  Flip flip = Flip::none;  // horizontal
  int cutout = 0;          // edge of a square set to the mean colour, centred anywhere in the image (arXiv:1708.04552)
};
// The classic CIFAR-10 recipe: padding 4 and a random flip.
inline constexpr AugmentOptions kCifar10Augment{.crop_padding = 4, .flip = Flip::random};

// The augmentation of image `index` in `epoch`: a pure function of its arguments, whatever the batch or the thread.
// Throws ValueError for options that do not fit such an image.
Augmentation draw_augmentation(const AugmentOptions& o, int height, int width, uint64_t seed, int64_t epoch,
                               int64_t index);

// f32 [B,3,H,W], channels-last, where the images lie: images `indices` of u8 [N,3,H,W], augmented and normalised
// (ops/augment.h). Throws ShapeError, DTypeError, ValueError (an index outside the images, negative options, a padding
// as large as the image, a normalisation that is not finite).
Tensor augment(const Tensor& images, std::span<const int64_t> indices, const AugmentOptions& o,
               const ImageNormalization& norm, uint64_t seed, int64_t epoch);

// The same without augmentation: u8 [N,3,H,W] -> f32 [N,3,H,W], channels-last.
Tensor normalize(const Tensor& images, const ImageNormalization& norm = kCifar10Normalization);

}  // namespace mininn::data
