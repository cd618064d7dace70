#include "examples/int8_infer/image.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/file.h"

namespace {

// A PNG may unpack to a thousand times its size, and the decoder would let it: while one is decoded, nothing larger
// than this is allocated.
size_t largest_allocation = 0;
void* reallocate(void* p, size_t bytes) { return bytes <= largest_allocation ? std::realloc(p, bytes) : nullptr; }

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_MAX_DIMENSIONS 16384
#define STBI_MALLOC(bytes) reallocate(nullptr, bytes)
#define STBI_REALLOC(p, bytes) reallocate(p, bytes)
#define STBI_FREE(p) std::free(p)
#include <stb/stb_image.h>

namespace int8_infer {

using namespace mininn;

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 26;
constexpr size_t kMostFile = size_t{kMostBytes} + (1 << 20);  // more than an image of so many bytes can have

void check_size(int64_t height, int64_t width, int64_t pixel_bytes) {
  const int64_t bytes = height * width * std::max<int64_t>(pixel_bytes, 3);  // grey may become three colours
  if (bytes > kMostBytes)
    throw FileError(
        message("its ", height, " x ", width, " pixels take ", bytes, " bytes; at most ", kMostBytes, " are read"));
}

// One direction of the scaling: how `to` new pixels come out of the old ones in [begin, begin + size).
struct Taps {
  struct Tap {
    int64_t from;
    double weight;
  };
  std::vector<std::vector<Tap>> of;  // per new pixel; the weights add up to 1

  Taps(int64_t begin, int64_t size, int64_t to) : of(size_t(to)) {
    const double step = double(size) / double(to), reach = std::max(step, 1.0);
    for (int64_t i = 0; i < to; ++i) {
      const double centre = (double(i) + 0.5) * step - 0.5;
      auto& taps = of[size_t(i)];
      double sum = 0;
      for (auto p = int64_t(std::ceil(centre - reach)); p <= int64_t(centre + reach); ++p) {
        const double weight = 1 - std::abs(double(p) - centre) / reach;
        if (p < 0 || p >= size || weight <= 0) continue;
        taps.push_back({begin + p, weight});
        sum += weight;
      }
      for (Tap& t : taps) t.weight /= sum;
    }
  }
};

// A binary PGM or PPM (http://netpbm.sourceforge.net/doc/ppm.html): magic, width, height, largest value, one space,
// bytes. By hand because the stb_image of some distributions takes a truncated one for a whole image.
Image parse_pnm(const std::string& bytes) {
  size_t at = 2;
  const auto number = [&](int64_t least, int64_t most) {
    while ((at = bytes.find_first_not_of(" \t\n\v\f\r", at)) < bytes.size() && bytes[at] == '#')
      at = bytes.find('\n', at);
    int64_t n = 0;
    const char *const begin = bytes.data() + std::min(at, bytes.size()), *const end = bytes.data() + bytes.size();
    const auto [behind, error] = std::from_chars(begin, end, n);
    if (error != std::errc() || n < least || n > most)
      throw FileError("it is no 8-bit PPM or PGM of a reasonable size");
    at = size_t(behind - bytes.data());
    return n;
  };
  Image image;
  image.channels = bytes[1] == '6' ? 3 : 1;
  image.width = number(1, STBI_MAX_DIMENSIONS);
  image.height = number(1, STBI_MAX_DIMENSIONS);
  number(255, 255);
  check_size(image.height, image.width, image.channels);
  const size_t begin = at + 1, size = size_t(image.height * image.width * image.channels);
  if (bytes.size() < begin || bytes.size() - begin < size) throw FileError("the file is too short for its image");
  image.pixels.assign(bytes.begin() + std::ptrdiff_t(begin), bytes.begin() + std::ptrdiff_t(begin + size));
  return image;
}

Image decode_png(const std::string& bytes) {
  const auto* const data = reinterpret_cast<const uint8_t*>(bytes.data());
  int width = 0, height = 0, channels = 0;
  largest_allocation = 65536;
  stbi_info_from_memory(data, int(bytes.size()), &width, &height, &channels);
  const int depth = stbi_is_16_bit_from_memory(data, int(bytes.size())) ? 2 : 1;
  check_size(height, width, channels * depth);
  // Rows of RGBA with a byte before each, and the compressed bytes; both grow by doubling.
  largest_allocation += 2 * std::max(size_t(height) * (4 * size_t(depth) * size_t(width) + 1), bytes.size());
  const std::unique_ptr<uint8_t, void (*)(void*)> pixels(
      stbi_load_from_memory(data, int(bytes.size()), &width, &height, &channels, 3), stbi_image_free);
  if (!pixels) {
    const char* const reason = stbi_failure_reason();  // null where memory ran out
    throw FileError(message("no PNG, PPM or PGM can be read: ", reason ? reason : "no reason given"));
  }
  return {height, width, 3, {pixels.get(), pixels.get() + size_t(height) * size_t(width) * 3}};
}

// Repeats grey, or weighs red, green and blue as ITU-R BT.601 does.
Image with_channels(Image image, int64_t channels) {
  if (image.channels == channels) return image;
  Image out{image.height, image.width, channels, {}};
  out.pixels.reserve(size_t(image.height * image.width * channels));
  for (auto p = image.pixels.begin(); p != image.pixels.end(); p += std::ptrdiff_t(image.channels)) {
    if (channels == 3)
      out.pixels.insert(out.pixels.end(), 3, *p);
    else
      out.pixels.push_back(uint8_t((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000));
  }
  return out;
}

}  // namespace

Image read_image(const std::filesystem::path& path, int64_t channels) {
  const File file = open_regular_file(path);
  try {
    if (file_size(file.get()) > kMostFile) throw FileError("the file is too large for an image");
    const std::string bytes = read_all(file.get(), kMostFile);
    const bool pnm = bytes.starts_with("P5") || bytes.starts_with("P6");
    return with_channels(pnm ? parse_pnm(bytes) : decode_png(bytes), channels);
  } catch (const FileError& e) {
    throw FileError(message(path.string(), ": ", e.what()));
  }
}

Tensor fit(const Image& image, int64_t height, int64_t width) {
  int64_t part_h = image.height, part_w = image.width;
  if (part_w * height > part_h * width)
    part_w = std::max<int64_t>(part_h * width / height, 1);
  else
    part_h = std::max<int64_t>(part_w * height / width, 1);
  const int64_t top = (image.height - part_h) / 2, left = (image.width - part_w) / 2;
  const Taps rows(top, part_h, height), columns(left, part_w, width);

  Tensor out = Tensor::empty({1, image.channels, height, width}, DType::u8);
  uint8_t* to = out.mutable_data<uint8_t>().data();
  std::vector<double> column(size_t(image.height));  // of one new pixel column: scaled across, not yet down
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t y = top; y < top + part_h; ++y) {
        double sum = 0;
        for (const auto& t : columns.of[size_t(x)])
          sum += t.weight * image.pixels[size_t((y * image.width + t.from) * image.channels + c)];
        column[size_t(y)] = sum;
      }
      for (int64_t y = 0; y < height; ++y) {
        double sum = 0;
        for (const auto& t : rows.of[size_t(y)]) sum += t.weight * column[size_t(t.from)];
        to[(c * height + y) * width + x] = uint8_t(std::lround(std::clamp(sum, 0.0, 255.0)));
      }
    }
  return out;
}

}  // namespace int8_infer
