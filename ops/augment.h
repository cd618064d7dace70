// From stored images to what a network is fed: each moved in its own way, and its bytes made numbers, in one pass.
#pragma once

#include <cstdint>
#include <span>

#include "core/image_normalization.h"
#include "core/kernel.h"
#include "core/tensor.h"

namespace mininn {

// What happens to one image.
struct Augmentation {
  int dy = 0, dx = 0;                                  // output pixel (y, x) shows input pixel (y + dy, x + dx);
  bool flip = false;                                   // then rows are mirrored
  int cut_y0 = 0, cut_y1 = 0, cut_x0 = 0, cut_x1 = 0;  // half-open rectangle that is cut out, inside the image
};

enum class Border { black, reflect };  // what a shifted image shows beyond its edge

inline constexpr int64_t kLargestEdge = 1 << 24;  // of an image: ints take what is computed from it

namespace op {

struct Augment {
  static constexpr std::string_view op = "augment";
  static constexpr int kMembers = 7;
  CView images;  // u8 [N,C,H,W], contiguous
  CView index;   // i64 [B], contiguous, each in [0, N)
  CView moves;   // i32 [B, kMembers], contiguous: the members of Augmentation
  CView table;   // f32 [C, 256], contiguous: what each byte becomes
  Border border = Border::black;
  View y;  // f32 [B,C,H,W], channels-last: 0 where something is cut out
};

}  // namespace op

// f32 [B,C,H,W], channels-last, beside the images: images `index` of u8 [N,C,H,W], contiguous, each by its move, then
// normalised; black is byte 0. The same bits on every device. Not differentiable. Throws DTypeError, ShapeError for
// images with an edge above kLargestEdge, too, and ValueError for an index outside the images, a move whose rectangle
// is outside or whose shift is as large as the image, or a normalisation that is none.
Tensor augment(const Tensor& images, std::span<const int64_t> index, std::span<const Augmentation> moves, Border border,
               const ImageNormalization& norm);

// A row of op::Augment::moves.
constexpr Augmentation augmentation_at(const int32_t* m) { return {m[0], m[1], m[2] != 0, m[3], m[4], m[5], m[6]}; }

// Where coordinate i of the result looks in an image of `size`; -1: beyond a border that is black.
constexpr int augment_source(int i, int shift, int size, Border border) {
  i += shift;
  if (i >= 0 && i < size) return i;
  if (border == Border::black) return -1;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

}  // namespace mininn
