#include "data/augment.h"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace mininn::data {
namespace {

// Keeps the draws apart from those of the loader's shuffle, which has the same seed.
constexpr uint64_t kAugmentStream = uint64_t{1} << 62;

// The normalised value of every byte in every channel.
using Table = std::array<std::array<float, 256>, 3>;

Table table_of(const ImageNormalization& norm) {
  Table t;
  for (size_t c = 0; c < 3; ++c)
    for (size_t v = 0; v < 256; ++v) t[c][v] = norm(uint8_t(v), c);
  return t;
}

// Uniform in [0, n) from 32 random bits (n is tiny, so the bias is below 2^-24).
int scaled(uint32_t bits, int n) { return int((uint64_t(bits) * uint64_t(n)) >> 32); }

// Where an output coordinate looks in the input; -1: beyond the border.
int source(int i, int shift, int size, Border border) {
  i += shift;
  if (i >= 0 && i < size) return i;
  if (border == Border::black) return -1;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

// One image: planes (C,H,W) of bytes to pixels (H,W,C) of floats.
void augment_image(const uint8_t* in, int height, int width, const Augmentation& a, Border border, const Table& table,
                   float* out) {
  std::vector<int> columns(static_cast<size_t>(width));
  for (int x = 0; x < width; ++x) columns[size_t(a.flip ? width - 1 - x : x)] = source(x, a.dx, width, border);
  const int64_t plane = int64_t(height) * width;
  const float black[3] = {table[0][0], table[1][0], table[2][0]};
  for (int y = 0; y < height; ++y) {
    const int sy = source(y, a.dy, height, border);
    const uint8_t* row = in + int64_t(std::max(sy, 0)) * width;
    const bool cut_row = y >= a.cut_y0 && y < a.cut_y1;
    for (int x = 0; x < width; ++x, out += 3) {
      const int sx = columns[size_t(x)];
      if (cut_row && x >= a.cut_x0 && x < a.cut_x1) {
        std::fill_n(out, 3, 0.0f);
      } else if (sy < 0 || sx < 0) {
        std::copy_n(black, 3, out);
      } else {
        out[0] = table[0][row[sx]];
        out[1] = table[1][row[sx + plane]];
        out[2] = table[2][row[sx + 2 * plane]];
      }
    }
  }
}

void check(const char* op, const AugmentOptions& o, int64_t height, int64_t width) {
  constexpr int64_t kLargest = 1 << 24;  // ints take what is computed from it
  const int64_t edge = std::min(height, width);
  if (edge < 1 || std::max(height, width) > kLargest || o.crop_padding < 0 || o.crop_padding >= edge || o.cutout < 0 ||
      o.cutout > 2 * kLargest)
    throw ValueError(message(op, ": crop padding ", o.crop_padding, " and cutout ", o.cutout, " do not fit images of ",
                             height, " x ", width));
  if (o.flip != Flip::none && o.flip != Flip::random && o.flip != Flip::alternating)
    throw ValueError(message(op, ": there is no flip ", int(o.flip)));
  if (o.border != Border::black && o.border != Border::reflect)
    throw ValueError(message(op, ": there is no border ", int(o.border)));
}

void check(const char* op, const Tensor& images, const AugmentOptions& o, const ImageNormalization& norm) {
  if (images.rank() != 4 || images.size(1) != 3)
    throw ShapeError(message(op, ": images are ", images.shape(), ", expected [N,3,H,W]"));
  if (images.dtype() != DType::u8)
    throw DTypeError(message(op, ": images are ", name(images.dtype()), ", expected u8"));
  if (!images.is_contiguous()) throw ShapeError(message(op, ": images ", images.shape(), " are not contiguous"));
  check(op, o, images.size(2), images.size(3));
  norm.check(3);
}

}  // namespace

Augmentation draw_augmentation(const AugmentOptions& o, int height, int width, uint64_t seed, int64_t epoch,
                               int64_t index) {
  check("draw_augmentation", o, height, width);
  const auto bits = philox(kAugmentStream + uint64_t(epoch), uint64_t(index), seed);
  Augmentation a;
  a.dy = scaled(bits[0], 2 * o.crop_padding + 1) - o.crop_padding;
  a.dx = scaled(bits[1], 2 * o.crop_padding + 1) - o.crop_padding;
  switch (o.flip) {
    case Flip::none: break;
    case Flip::random: a.flip = bits[2] & 1; break;
    case Flip::alternating: a.flip = (philox(kAugmentStream, uint64_t(index), seed)[2] ^ uint32_t(epoch)) & 1; break;
  }
  if (o.cutout > 0) {
    const int top = scaled(bits[2] << 16 | bits[3] >> 16, height) - o.cutout / 2;
    const int left = scaled(bits[3] << 16 | (bits[2] >> 16), width) - o.cutout / 2;
    a.cut_y0 = std::max(top, 0), a.cut_y1 = std::min(top + o.cutout, height);
    a.cut_x0 = std::max(left, 0), a.cut_x1 = std::min(left + o.cutout, width);
  }
  return a;
}

Tensor augment(const Tensor& images, std::span<const int64_t> indices, const AugmentOptions& o,
               const ImageNormalization& norm, uint64_t seed, int64_t epoch) {
  check("augment", images, o, norm);
  const int height = int(images.size(2)), width = int(images.size(3));
  const int64_t image_size = int64_t{3} * height * width;
  const Table table = table_of(norm);
  Tensor out = Tensor::empty({int64_t(indices.size()), 3, height, width}, DType::f32, Device::cpu(),
                             MemoryFormat::channels_last);
  const uint8_t* from = images.data<uint8_t>().data();
  float* to = out.mutable_data<float>().data();
  for (const int64_t i : indices) {
    if (i < 0 || i >= images.size(0))
      throw ValueError(message("augment: index ", i, " is outside images ", images.shape()));
    augment_image(from + i * image_size, height, width, draw_augmentation(o, height, width, seed, epoch, i), o.border,
                  table, to);
    to += image_size;
  }
  return out;
}

Tensor normalize(const Tensor& images, const ImageNormalization& norm) {
  check("normalize", images, {}, norm);
  std::vector<int64_t> all(size_t(images.size(0)));
  std::iota(all.begin(), all.end(), int64_t{0});
  return augment(images, all, {}, norm, 0, 0);
}

}  // namespace mininn::data
