#include "data/augment.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/random.h"

namespace mininn::data {
namespace {

// Keeps the draws apart from those of the loader's shuffle, which has the same seed.
constexpr uint64_t kAugmentStream = uint64_t{1} << 62;

// Uniform in [0, n) from 32 random bits (n is tiny, so the bias is below 2^-24).
int scaled(uint32_t bits, int n) { return int((uint64_t(bits) * uint64_t(n)) >> 32); }

void check(const char* op, const AugmentOptions& o, int64_t height, int64_t width) {
  const int64_t edge = std::min(height, width);
  if (edge < 1 || std::max(height, width) > kLargestEdge || o.crop_padding < 0 || o.crop_padding >= edge ||
      o.cutout < 0 || o.cutout > 2 * kLargestEdge)
    throw ValueError(message(op, ": crop padding ", o.crop_padding, " and cutout ", o.cutout, " do not fit images of ",
                             height, " x ", width));
  if (o.flip != Flip::none && o.flip != Flip::random && o.flip != Flip::alternating)
    throw ValueError(message(op, ": there is no flip ", int(o.flip)));
  if (o.border != Border::black && o.border != Border::reflect)
    throw ValueError(message(op, ": there is no border ", int(o.border)));
}

void check(const char* op, const Tensor& images, const AugmentOptions& o) {
  if (images.rank() != 4 || images.size(1) != 3)
    throw ShapeError(message(op, ": images are ", images.shape(), ", expected [N,3,H,W]"));
  check(op, o, images.size(2), images.size(3));
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
  check("augment", images, o);
  std::vector<Augmentation> moves;
  for (const int64_t i : indices)
    moves.push_back(draw_augmentation(o, int(images.size(2)), int(images.size(3)), seed, epoch, i));
  return mininn::augment(images, indices, moves, o.border, norm);
}

Tensor normalize(const Tensor& images, const ImageNormalization& norm) {
  check("normalize", images, {});
  std::vector<int64_t> all(size_t(images.size(0)));
  std::iota(all.begin(), all.end(), int64_t{0});
  return augment(images, all, {}, norm, 0, 0);
}

}  // namespace mininn::data
