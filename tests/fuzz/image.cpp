// Pictures in files: what is read fits any network's input.
#include "examples/int8_infer/image.h"
#include "core/integers.h"

#include <algorithm>
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

namespace mininn::fuzz {

namespace {

using namespace std::string_literals;

const std::string kSignature = "\x89PNG\r\n\x1a\n"s;

// The compressed pixels of a 24 x 16 grey picture with all five filters: a block with Huffman codes of its own.
const char kPixels[] =
    "78da2d503d28065014bd3f9feea00c06250665b0481994c1447d831894810c642049494ab22092327ccbb77c492916839289c566b3d94c4c4c"
    "6c2"
    "c5ce73ceeebbde19e73ee39ef8a464b5b67776fffe070757c72667e69756367ffa8de3855d508171517544a86bb87188e84a6a7bbb91a1013c"
    "d44"
    "b3a0600381c22d15204a2b4edc0ca863643ae5496e47574fdfc0507574627a7661657d6befb0d63839bfbcbe55cb80126fd2d02c9333137d2d"
    "1e66"
    "0a021e9808533879981ac664c2e0e1b85931c6200bb2e08ca2476f71796d73fba0563f3ebbb8bab9bb7f787c7a79fbf8fa69522dbf0113a661"
    "f257"
    "b48b12c63d19a37c9221a3f801e47e28762d0953a242805afd67735a701bcfafef9fdf95e6d6f6b28191b189a9396e60f717167355c2";

std::string from_hex(const std::string& digits) {
  std::string out;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) out += char(std::stoi(digits.substr(i, 2), nullptr, 16));
  return out;
}

std::string big_endian(uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }

struct Chunk {
  std::string type, data;
};

// Check sums are left 0: the reader does not look at them.
std::string png(const std::vector<Chunk>& chunks) {
  std::string out = kSignature;
  for (const Chunk& c : chunks) out += big_endian(uint32_t(c.data.size())) + c.type + c.data + "\0\0\0\0"s;
  return out;
}

std::vector<Chunk> chunks(const std::string& file) {
  std::vector<Chunk> out;
  for (size_t at = kSignature.size(); at + 12 <= file.size();) {
    uint32_t size = 0;
    std::memcpy(&size, file.data() + at, 4);
    size = __builtin_bswap32(size);
    if (size > file.size() - at - 12) break;
    out.push_back({file.substr(at + 4, 4), file.substr(at + 8, size)});
    at += 12 + size;
  }
  return out;
}

Chunk header(uint32_t width, uint32_t height, int depth, int colour, int interlaced) {
  return {"IHDR", big_endian(width) + big_endian(height) + char(depth) + char(colour) + "\0\0"s + char(interlaced)};
}

// A zlib stream of one block that is not compressed.
std::string stored(const std::string& bytes) {
  const auto n = uint16_t(bytes.size()), complement = uint16_t(~n);
  return "\x78\x01\x01"s + char(n) + char(n >> 8) + char(complement) + char(complement >> 8) + bytes + "\0\0\0\0"s;
}

// A small picture of any kind; the pixels are what they may be.
std::string picture(int depth, int colour, int interlaced) {
  constexpr int kWidth = 5, kHeight = 4, kChannels[] = {1, 0, 3, 1, 2, 0, 4};
  const auto row_bytes = size_t(ceil_div(kWidth * depth * kChannels[colour], 8));
  std::string pixels;
  // More rows than enough: interlaced pictures have more, of several lengths.
  for (int row = 0; row < 3 * kHeight; ++row) {
    pixels += '\0';
    pixels.append(row_bytes, interlaced ? '\0' : char(row * 17));
  }
  if (!interlaced) pixels.resize(pixels.size() / 3);
  std::vector<Chunk> c{header(kWidth, kHeight, depth, colour, interlaced)};
  if (colour == 3) c.push_back({"PLTE", std::string(size_t(3 << depth), 'p')});
  if (colour == 3) c.push_back({"tRNS", "\x80\x40"});
  if (colour == 2) c.push_back({"tRNS", std::string(6, '\0')});
  c.insert(c.end(), {{"IDAT", stored(pixels)}, {"IEND", ""}});
  return png(c);
}

std::string mutate_png(const std::string& file, Random& random) {
  std::vector<Chunk> c = chunks(file);
  if (c.empty()) return mutate_bytes(file, random);
  do {
    const size_t at = below(random, c.size());
    switch (below(random, 6)) {
      case 0: std::swap(c[at], pick(random, c)); break;
      case 1: c.insert(c.begin() + std::ptrdiff_t(at), Chunk(pick(random, c))); break;
      case 2:
        if (c.size() > 1) c.erase(c.begin() + std::ptrdiff_t(at));
        break;
      case 3: {
        const uint32_t sides[] = {0, 1, 2, 3, 5, 8, 255, 4096, 16384, 16385, 1u << 24, INT32_MAX, UINT32_MAX};
        const int depths[] = {1, 2, 4, 8, 16, 0, 3};
        const int colours[] = {0, 2, 3, 4, 6, 1, 7};
        c[0] = header(pick(random, sides), pick(random, sides), pick(random, depths), pick(random, colours),
                      int(below(random, 3)));
        break;
      }
      default: c[at].data = mutate_bytes(c[at].data, random); break;
    }
  } while (one_in(random, 3));
  return png(c);
}

// The words before the pixels.
std::string mutate_pnm(std::string file, Random& random) {
  const char* const words[] = {"0",     "1",     "5",          "255", "256",
                               "16384", "16385", "2147483648", "-1",  "9223372036854775807",
                               "#",     "",      " ",          "\n",  "99999999999999999999"};
  const size_t space = file.find_first_of(" \n", below(random, std::min<size_t>(file.size(), 16)));
  if (space == file.npos || one_in(random, 3)) return mutate_bytes(std::move(file), random);
  const size_t end = file.find_first_of(" \n", space + 1);
  return file.replace(space + 1, end == file.npos ? end : end - space - 1, pick(random, words));
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> files{"P5 3 2 255\nabcdef", "P6\n# a comment\n2 1\n255\nrgbRGB",
                                 png({header(24, 16, 8, 0, 0), {"IDAT", from_hex(kPixels)}, {"IEND", ""}})};
  const int kinds[][2] = {{1, 0}, {2, 0}, {4, 0}, {8, 0}, {16, 0}, {8, 2}, {16, 2}, {1, 3},
                          {2, 3}, {4, 3}, {8, 3}, {8, 4}, {16, 4}, {8, 6}, {16, 6}};
  for (const auto& [depth, colour] : kinds)
    for (const int interlaced : {0, 1}) files.push_back(picture(depth, colour, interlaced));
  return files;
}

std::string mutate(std::string input, Random& random) {
  if (one_in(random, 8)) return mutate_bytes(std::move(input), random);
  return input.starts_with(kSignature) ? mutate_png(input, random) : mutate_pnm(std::move(input), random);
}

void use(const std::filesystem::path& file) {
  for (const int64_t channels : {1, 3}) {
    const int8_infer::Image image = int8_infer::read_image(file, channels);
    require(image.height > 0 && image.width > 0 && image.channels == channels &&
                int64_t(image.pixels.size()) == image.height * image.width * channels,
            "an image has the pixels that it says");
    for (const auto& [height, width] : {std::pair(32, 32), std::pair(1, 7), std::pair(9, 1)})
      int8_infer::fit(image, height, width);
  }
}

}  // namespace mininn::fuzz
