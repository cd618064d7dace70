// Each wrapper of cuda/device_sm90.h against its comment, where there is a CUDA device of compute capability 9.0.
#include "tests/cuda/conformance_sm90.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/backend.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

std::vector<Device> devices() {
  std::vector<Device> all;
  for (int i = 0; i < device_count(DeviceType::cuda); ++i) {
    const Device d = Device::cuda(i);
    if (is_sm90(d))
      all.push_back(d);
    else
      WARN(to_string(d) << " is not of compute capability 9.0: the instructions of sm_90a are not looked at there");
  }
  return all;
}

std::vector<uint8_t> random_bytes(size_t n, Generator& g) {
  std::vector<uint8_t> bytes(n);
  for (uint8_t& b : bytes) b = uint8_t(g.below(256));
  return bytes;
}

// Where byte i of rows of 64 lies in a matrix.
size_t exchanged(size_t i) { return i ^ (i / 128 % 4) * 16; }

// What a copy brings, by its definition.
std::vector<uint8_t> expected(const Conv2dGeometry& g, size_t element, int64_t pixel_bytes,
                              const std::vector<uint8_t>& images, const PixelCopy& c) {
  std::vector<uint8_t> to(128 * 64);
  for (int64_t i = 0; i < 128; ++i) {
    const int64_t pixel = c.pixel + i, n = pixel / (g.oh * g.ow);
    const int64_t h = pixel / g.ow % g.oh * g.stride_h - g.pad_h + c.tap_h * g.dil_h;
    const int64_t w = pixel % g.ow * g.stride_w - g.pad_w + c.tap_w * g.dil_w;
    if (n >= g.n || h < 0 || h >= g.ih || w < 0 || w >= g.iw) continue;
    for (size_t b = 0; b < 64; ++b)
      if (size_t(c.channel) + b / element < size_t(g.ic))
        to[exchanged(size_t(i) * 64 + b)] =
            images[size_t(((n * g.ih + h) * g.iw + w) * pixel_bytes) + size_t(c.channel) * element + b];
  }
  return to;
}

}  // namespace

TEST_CASE("barriers in shared memory hand on what threads have written") {
  Generator g(test_seed());
  for (const Device d : devices()) {
    const auto bytes = random_bytes(9 * 128, g);
    std::vector<uint8_t> want = bytes;
    for (size_t i = 0; i < want.size(); ++i) want[i] = uint8_t(want[i] + i / 128);
    CHECK(through_barriers(d, bytes) == want);
  }
}

TEST_CASE("bulk copies arrive at their barrier") {
  Generator g(test_seed());
  for (const Device d : devices()) {
    const auto bytes = random_bytes(16 << 10, g);
    CHECK(copy_bulk(d, bytes) == bytes);
  }
}

TEST_CASE("copies of images bring the pixels that a convolution reads, and zeros around them") {
  Generator r(test_seed());
  const auto below = [&](int64_t n) { return int64_t(r.below(uint64_t(n))); };
  for (const Device d : devices())
    for (int i = 0; i < 40; ++i) {
      const DType dtype = i % 2 ? DType::bf16 : DType::u8;
      const int64_t kh = 1 + below(4), kw = 1 + below(4), ic = 1 + below(150);
      const Conv2dParams o{.stride = {1 + below(3), 1 + below(3)},
                           .padding = {below(4), below(4)},
                           .dilation = {1 + below(3), 1 + below(3)}};
      const Shape x{1 + below(4), ic, (kh - 1) * o.dilation.h + 1 + below(9), (kw - 1) * o.dilation.w + 1 + below(9)};
      const auto g = Conv2dGeometry::make("test", x, {1, ic, kh, kw}, o);
      const auto element = int64_t(size_of(dtype)), pixel_bytes = (ic * element + 15) / 16 * 16 + 16 * below(2);
      const auto images = random_bytes(size_t(g.n * g.ih * g.iw * pixel_bytes), r);
      std::vector<PixelCopy> copies;
      for (int k = 0; k < 6; ++k)
        copies.push_back(
            {below(g.n * g.oh * g.ow), int(below(kh)), int(below(kw)), int(below(ic) * element / 64 * 64 / element)});
      const auto got = copy_pixels(d, g, dtype, pixel_bytes, images, copies);
      for (size_t k = 0; k < copies.size(); ++k) {
        INFO(g.to_string() << ", pixels of " << pixel_bytes << " bytes, from pixel " << copies[k].pixel << ", tap "
                           << copies[k].tap_h << ',' << copies[k].tap_w << ", channel " << copies[k].channel);
        const auto* const from = got.data() + k * 128 * 64;
        CHECK(std::vector(from, from + 128 * 64) == expected(g, size_t(element), pixel_bytes, images, copies[k]));
      }
    }
}

TEST_CASE("the driver describes the images that are said to be describable") {
  Generator r(test_seed());
  const auto between = [&](int64_t low, int64_t high) { return low + int64_t(r.below(uint64_t(high - low + 1))); };
  for (const Device d : devices()) {
    int described = 0;
    for (int i = 0; i < 2000; ++i) {
      const int64_t kh = between(1, 4), kw = between(1, 4);
      const Conv2dParams o{.stride = {between(1, 9), between(1, 9)},
                           .padding = {between(0, 140), between(0, 140)},
                           .dilation = {between(1, 90), between(1, 90)}};
      const Shape x{between(1, 9), between(1, 300), between(1, 40) + (kh - 1) * o.dilation.h,
                    between(1, 40) + (kw - 1) * o.dilation.w};
      const auto g = Conv2dGeometry::make("test", x, {1, x[1], kh, kw}, o);
      INFO(g.to_string());
      described += describes(d, g, i % 2 ? DType::bf16 : DType::u8, 16 * between(38, 50));
    }
    CHECK(described > 200);
  }
}

TEST_CASE("products of a warpgroup are exact for codes, and nearly so for bf16") {
  Generator g(test_seed());
  for (const Device d : devices())
    for (const size_t columns : {64, 128}) {
      // As they are said, and as they lie in memory.
      const auto rows = random_bytes(64 * 64, g), others = random_bytes(columns * 64, g);
      const auto lies = [](const std::vector<uint8_t>& from) {
        std::vector<uint8_t> to(from.size());
        for (size_t i = 0; i < from.size(); ++i) to[exchanged(i)] = from[i];
        return to;
      };
      std::vector<int32_t> sums(64 * columns);
      for (int32_t& v : sums) v = int32_t(g.next_u32());
      const auto got = multiply(d, int(columns), sums, lies(rows), lies(others));
      for (size_t i = 0; i < got.size(); ++i) {
        auto want = uint32_t(sums[i]);
        for (size_t k = 0; k < 64; ++k)
          want += 2 * uint32_t(int(rows[i / columns * 64 + k]) * int(int8_t(others[i % columns * 64 + k])));
        CHECK(got[i] == int32_t(want));
      }

      std::vector<bf16> a(64 * 32), b(columns * 32);
      for (auto* const all : {&a, &b})
        for (bf16& v : *all) v = bf16(float(g.normal()));
      const auto bytes = [](const std::vector<bf16>& from) {
        std::vector<uint8_t> to(from.size() * sizeof(bf16));
        std::memcpy(to.data(), from.data(), to.size());
        return to;
      };
      std::vector<float> real(64 * columns);
      for (float& v : real) v = float(g.normal());
      const auto reals = multiply(d, int(columns), real, lies(bytes(a)), lies(bytes(b)));
      for (size_t i = 0; i < reals.size(); ++i) {
        double want = double(real[i]), size = std::abs(want);
        for (size_t k = 0; k < 32; ++k) {
          const double v = 2 * double(float(a[i / columns * 32 + k])) * double(float(b[i % columns * 32 + k]));
          want += v;
          size += std::abs(v);
        }
        CHECK(std::abs(double(reals[i]) - want) <= size * 65 * 0x1p-23);
      }
    }
}
