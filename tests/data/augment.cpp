#include "data/augment.h"

#include <climits>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::data;

namespace {

const ImageNormalization kIdentity{{0, 0, 0}, {1.0f / 255, 1.0f / 255, 1.0f / 255}};  // bytes come out as they are

Tensor random_images(int64_t n, int64_t h, int64_t w, uint64_t seed = 3) {
  Tensor t = Tensor::empty({n, 3, h, w}, DType::u8);
  Generator g(seed);
  for (uint8_t& v : t.mutable_data<uint8_t>()) v = uint8_t(1 + g.below(255));  // never 0, so padding stands out
  return t;
}

float at(const Tensor& t, int64_t n, int64_t c, int64_t y, int64_t x) {  // of a channels-last tensor
  return t.data<float>()[size_t(((n * t.size(2) + y) * t.size(3) + x) * t.size(1) + c)];
}
int byte_at(const Tensor& t, int64_t n, int64_t c, int64_t y, int64_t x) {
  return t.data<uint8_t>()[size_t(((n * t.size(1) + c) * t.size(2) + y) * t.size(3) + x)];
}

}  // namespace

TEST_CASE("normalize is (byte / 255 - mean) / std, channels-last") {
  const Tensor images = random_images(2, 5, 7);
  const Tensor x = normalize(images);
  CHECK(x.shape() == images.shape());
  CHECK(x.is_channels_last());
  const double mean[] = {0.4914, 0.4822, 0.4465}, std[] = {0.2470, 0.2435, 0.2616};
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = 0; y < 5; ++y)
        for (int64_t w = 0; w < 7; ++w)
          CHECK(at(x, n, c, y, w) == Approx((byte_at(images, n, c, y, w) / 255.0 - mean[c]) / std[c]).margin(1e-6));
}

TEST_CASE("augment does what draw_augmentation says") {
  const uint64_t seed = GENERATE(1, 2);
  const Border border = GENERATE(Border::black, Border::reflect);
  const Flip flip = GENERATE(Flip::none, Flip::random, Flip::alternating);
  const AugmentOptions o{.crop_padding = 4, .border = border, .flip = flip, .cutout = 5};
  const int64_t h = 9, w = 12;
  const Tensor images = random_images(6, h, w);
  const std::vector<int64_t> indices{5, 0, 3, 3};
  const Tensor x = augment(images, indices, o, kIdentity, seed, 2);
  REQUIRE(x.shape() == Shape{4, 3, h, w});
  const auto mirror = [&](int64_t i, int64_t size) { return i < 0 ? -i : i >= size ? 2 * size - 2 - i : i; };
  for (int64_t n = 0; n < 4; ++n) {
    const Augmentation a = draw_augmentation(o, int(h), int(w), seed, 2, indices[size_t(n)]);
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = 0; y < h; ++y)
        for (int64_t u = 0; u < w; ++u) {
          int64_t sy = y + a.dy, sx = (a.flip ? w - 1 - u : u) + a.dx;
          const bool outside = sy < 0 || sy >= h || sx < 0 || sx >= w;
          const bool cut = y >= a.cut_y0 && y < a.cut_y1 && u >= a.cut_x0 && u < a.cut_x1;
          if (border == Border::reflect) sy = mirror(sy, h), sx = mirror(sx, w);
          const double expected =
              cut || (outside && border == Border::black) ? 0 : byte_at(images, indices[size_t(n)], c, sy, sx);
          REQUIRE(at(x, n, c, y, u) == Approx(expected).margin(1e-3));
        }
  }
}

TEST_CASE("padding is black before normalisation and cutout is the mean colour") {
  Tensor images = Tensor::full({1, 3, 8, 8}, 255, DType::u8);
  const double mean = kCifar10Normalization.mean[0], std = kCifar10Normalization.std[0];
  const auto black = float((0 - mean) / std), white = float((1 - mean) / std);
  std::set<float> seen;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const Tensor x =
        augment(images, std::vector<int64_t>{0}, {.crop_padding = 4, .cutout = 3}, kCifar10Normalization, 1, epoch);
    for (int64_t y = 0; y < 8; ++y)
      for (int64_t u = 0; u < 8; ++u) seen.insert(at(x, 0, 0, y, u));
  }
  CHECK(seen == std::set<float>{black, 0.0f, white});
}

TEST_CASE("shifts, flips and cutouts cover their range evenly and stay inside") {
  const AugmentOptions o{.crop_padding = 4, .flip = Flip::random, .cutout = 8};
  std::map<int, int> dy, dx, flips, tops;
  constexpr int kDraws = 18000;
  for (int i = 0; i < kDraws; ++i) {
    const Augmentation a = draw_augmentation(o, 32, 32, 11, i / 100, i % 100);
    ++dy[a.dy], ++dx[a.dx], ++flips[a.flip], ++tops[a.cut_y0];
    REQUIRE((0 <= a.cut_y0 && a.cut_y0 < a.cut_y1 && a.cut_y1 <= 32));
    REQUIRE((0 <= a.cut_x0 && a.cut_x0 < a.cut_x1 && a.cut_x1 <= 32));
  }
  REQUIRE(dy.size() == 9);
  REQUIRE(dx.size() == 9);
  for (const auto* shifts : {&dy, &dx})
    for (const auto& [shift, count] : *shifts) {
      CHECK(std::abs(shift) <= 4);
      CHECK(std::abs(count - kDraws / 9) < 5 * std::sqrt(kDraws / 9.0));
    }
  CHECK(std::abs(flips[1] - kDraws / 2) < 5 * std::sqrt(kDraws / 4.0));
  CHECK(tops.size() == 28);  // 0 (from -4..0) and 1..27
}

TEST_CASE("alternating flip turns every image round each epoch, from a random start") {
  const AugmentOptions o{.flip = Flip::alternating};
  int flipped = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const bool first = draw_augmentation(o, 32, 32, 4, 0, i).flip;
    flipped += first;
    for (int64_t e = 1; e < 5; ++e) CHECK(draw_augmentation(o, 32, 32, 4, e, i).flip == (first != (e % 2 == 1)));
  }
  CHECK(std::abs(flipped - 500) < 80);
}

TEST_CASE("augment gives the same bits on every device") {
  const int64_t h = 9, w = 12;
  const Tensor images = random_images(6, h, w);
  const std::vector<int64_t> indices{5, 0, 3, 3};
  for (const Device d : testing::other_devices())
    for (const Border border : {Border::black, Border::reflect}) {
      const AugmentOptions o{.crop_padding = 4, .border = border, .flip = Flip::random, .cutout = 5};
      const Tensor x = augment(images.to(d), indices, o, kCifar10Normalization, 1, 2);
      CHECK(x.device() == d);
      CHECK(x.is_channels_last());
      CHECK(x.to_vector() == augment(images, indices, o, kCifar10Normalization, 1, 2).to_vector());
      CHECK(augment(images.to(d), {}, o, kCifar10Normalization, 1, 2).numel() == 0);
    }
}

TEST_CASE("augmentation depends on seed, epoch and index, and on nothing else") {
  const Tensor images = random_images(8, 16, 16);
  const AugmentOptions o{.crop_padding = 4, .flip = Flip::random, .cutout = 4};
  const auto run = [&](std::vector<int64_t> indices, uint64_t seed, int64_t epoch) {
    return augment(images, indices, o, kCifar10Normalization, seed, epoch).to_vector();
  };
  const auto all = run({0, 1, 2, 3, 4, 5, 6, 7}, 1, 0);
  const auto five = run({5}, 1, 0);
  CHECK(std::equal(five.begin(), five.end(), all.begin() + 5 * 3 * 16 * 16));
  CHECK(run({0, 1, 2, 3, 4, 5, 6, 7}, 1, 1) != all);
  CHECK(run({0, 1, 2, 3, 4, 5, 6, 7}, 2, 0) != all);
}

TEST_CASE("augment refuses what it cannot do") {
  const Tensor images = random_images(2, 8, 8);
  const std::vector<int64_t> one{0};
  CHECK_THROWS_AS(augment(images, std::vector<int64_t>{2}, {}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, std::vector<int64_t>{-1}, {}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {.crop_padding = -1}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {.crop_padding = 8}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {.cutout = -1}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {.cutout = INT_MAX}, {}, 0, 0), ValueError);
  CHECK_THROWS_AS(draw_augmentation({.crop_padding = INT_MAX}, 8, 8, 0, 0, 0), ValueError);
  CHECK_THROWS_AS(draw_augmentation({}, 0, 8, 0, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {}, {{0, 0, 0}, {1, 0, 1}}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {}, {{0, 0, 0}, {1, NAN, 1}}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {}, {{0, 0, 0}, {1, INFINITY, 1}}, 0, 0), ValueError);
  CHECK_THROWS_AS(augment(images, one, {}, {{0, NAN, 0}, {1, 1, 1}}, 0, 0), ValueError);
  CHECK_THROWS_AS(normalize(Tensor::zeros({2, 3, 8, 8})), DTypeError);
  CHECK_THROWS_AS(normalize(Tensor::zeros({2, 1, 8, 8}, DType::u8)), ShapeError);
  CHECK_THROWS_AS(normalize(Tensor::zeros({3, 8, 8}, DType::u8)), ShapeError);
}

TEST_CASE("numbers that are no flip or border are refused") {
  CHECK_THROWS_AS(draw_augmentation({.flip = Flip(9)}, 4, 4, 1, 0, 0), ValueError);
  CHECK_THROWS_AS(draw_augmentation({.border = Border(9)}, 4, 4, 1, 0, 0), ValueError);
}
