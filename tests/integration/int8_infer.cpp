// The static inference program from outside: the same numbers as the library's, one sentence for bad input, and small.
#include <elf.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "quant/int8_file.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

struct Result {
  int status = 0;
  std::string text;  // both streams
};

Result run(const std::string& arguments) {
  FILE* pipe = ::popen((MININN_INT8_INFER " " + arguments + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Result r;
  char line[256];
  while (std::fgets(line, sizeof line, pipe)) r.text += line;
  r.status = WEXITSTATUS(::pclose(pipe));
  return r;
}

// The five lines that the program owes for these logits of classes without names.
std::string expected_text(const Tensor& logits) {
  const auto values = logits.to_vector();
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += std::exp(values[i] - largest);
    order.emplace_back(-values[i], i);
  }
  std::sort(order.begin(), order.end());
  std::string text;
  for (size_t i = 0; i < 5; ++i) {
    char line[80];
    std::snprintf(line, sizeof line, "%-12s %6.2f%%  logit %.6g\n",
                  ("class " + std::to_string(order[i].second)).c_str(), 100 * std::exp(-order[i].first - largest) / sum,
                  -order[i].first);
    text += line;
  }
  return text;
}

// Images [1,C,H,W] as files.
std::string interleaved(const Tensor& image, bool filter_bytes) {
  const int64_t c = image.size(1), h = image.size(2), w = image.size(3);
  const auto bytes = image.data<uint8_t>();
  std::string out;
  for (int64_t y = 0; y < h; ++y) {
    if (filter_bytes) out += '\0';
    for (int64_t x = 0; x < w; ++x)
      for (int64_t i = 0; i < c; ++i) out += char(bytes[size_t((i * h + y) * w + x)]);
  }
  return out;
}

std::string ppm(const Tensor& image) {
  return message("P6\n# a comment\n", image.size(3), ' ', image.size(2), "\n255\n") + interleaved(image, false);
}

std::string big_endian(uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }

uint32_t crc32(const std::string& bytes) {
  uint32_t crc = 0xffffffff;
  for (const char b : bytes) {
    crc ^= uint8_t(b);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

std::string png_chunk(const std::string& type, const std::string& data) {
  return big_endian(uint32_t(data.size())) + type + data + big_endian(crc32(type + data));
}

std::string png_file(int64_t height, int64_t width, const std::string& compressed, char depth = 8) {
  return "\x89PNG\r\n\x1a\n" +
         png_chunk("IHDR",
                   big_endian(uint32_t(width)) + big_endian(uint32_t(height)) + std::string{depth, 2, 0, 0, 0}) +
         png_chunk("IDAT", compressed) + png_chunk("IEND", "");
}

// With one stored (uncompressed) block.
std::string png(const Tensor& image) {
  const std::string rows = interleaved(image, true);
  uint32_t a = 1, b = 0;
  for (const char byte : rows) {
    a = (a + uint8_t(byte)) % 65521;
    b = (b + a) % 65521;
  }
  const auto size = uint16_t(rows.size());
  REQUIRE(size == rows.size());
  std::string block{1, char(size & 255), char(size >> 8), char(~size & 255), char(uint16_t(~size) >> 8)};
  return png_file(image.size(2), image.size(3), "\x78\x01" + block + rows + big_endian(b << 16 | a));
}

// A zlib stream that unpacks to 258 zeros for every 13 of its bits, in the fixed Huffman code of RFC 1951: the literal
// 0, then `repeats` times the 258 bytes before.
std::string zeros(size_t repeats) {
  std::string out = "\x78\x01";
  uint32_t buffer = 0;
  int bits = 0;
  const auto put = [&](uint32_t value, int count) {  // as in the file: the lowest bit first
    buffer |= value << bits;
    for (bits += count; bits >= 8; bits -= 8, buffer >>= 8) out += char(buffer);
  };
  put(0b011, 3);       // the last block, of fixed codes
  put(0b00001100, 8);  // 0; codes are written with their highest bit first
  for (size_t i = 0; i < repeats; ++i) {
    put(0b10100011, 8);  // 258 bytes
    put(0, 5);           // from 1 byte before
  }
  put(0, 16);
  return out;
}

struct Fixture {
  TempFolder folder;
  quant::Int8Net net;
  std::string model = (folder / "net.safetensors").string(), image = (folder / "image").string();

  // The notes say synthetic data, so that the ten classes are not taken for CIFAR-10's.
  explicit Fixture(const TestNet& source)
      : net(calibrated(source, 1, true, {.notes = {{"data", "synthetic, seed 1"}}}).compile()) {
    net.save(model);
  }
  Result classify(const std::string& bytes) const {
    write_file(image, bytes);
    return run(model + " " + image);
  }
  void check_same(const std::string& file, const Tensor& input) const {
    const Result r = classify(file);
    CHECK(r.status == 0);
    CHECK(r.text == expected_text(net(input)));
  }
};

// `image` in the middle of a larger one of another colour.
Tensor bordered(const Tensor& image, int64_t above, int64_t beside) {
  const int64_t c = image.size(1), h = image.size(2), w = image.size(3), big_h = h + 2 * above, big_w = w + 2 * beside;
  Tensor out = Tensor::full({1, c, big_h, big_w}, 200, DType::u8);
  const auto from = image.data<uint8_t>();
  const auto to = out.mutable_data<uint8_t>();
  for (int64_t i = 0; i < c; ++i)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x)
        to[size_t((i * big_h + y + above) * big_w + x + beside)] = from[size_t((i * h + y) * w + x)];
  return out;
}

}  // namespace

TEST_CASE("int8_infer says what the library says") {
  for (const TestNet& source : {residual(3), vgg(4)}) {
    const Fixture f(source);
    const Tensor input = random_images(with_batch(source.input, 1), 5);
    f.check_same(ppm(input), input);
    f.check_same(png(input), input);
  }
}

TEST_CASE("int8_infer takes the centre of an image and scales it") {
  const Fixture f(residual(3));
  const Tensor input = random_images({1, 3, 9, 9}, 6);
  f.check_same(ppm(bordered(input, 0, 4)), input);
  f.check_same(png(bordered(input, 2, 0)), input);
  for (const auto& [h, w] : {std::pair{1, 1}, {5, 40}, {90, 31}})
    f.check_same(ppm(Tensor::full({1, 3, h, w}, 77, DType::u8)), Tensor::full({1, 3, 9, 9}, 77, DType::u8));

  // Three times as large with every pixel repeated: an average over weights 1 2 3 2 1 of 9, of which the middle pixel
  // and one third of each neighbour, so the scaled image is the input blurred by 1/9, 7/9, 1/9 in each direction.
  Tensor large = Tensor::empty({1, 3, 27, 27}, DType::u8), blurred = Tensor::empty({1, 3, 9, 9}, DType::u8);
  const auto from = input.data<uint8_t>();
  const auto big = large.mutable_data<uint8_t>(), small = blurred.mutable_data<uint8_t>();
  for (int64_t c = 0; c < 3; ++c) {
    const auto at = [&](int64_t y, int64_t x) { return double(from[size_t((c * 9 + y) * 9 + x)]); };
    for (int64_t y = 0; y < 27; ++y)
      for (int64_t x = 0; x < 27; ++x) big[size_t((c * 27 + y) * 27 + x)] = uint8_t(at(y / 3, x / 3));
    for (int64_t y = 0; y < 9; ++y)
      for (int64_t x = 0; x < 9; ++x) {
        double sum = 0, weights = 0;
        for (int64_t dy = -1; dy <= 1; ++dy)
          for (int64_t dx = -1; dx <= 1; ++dx) {
            if (y + dy < 0 || y + dy > 8 || x + dx < 0 || x + dx > 8) continue;
            const double weight = (dy ? 1.0 : 7.0) * (dx ? 1.0 : 7.0);
            sum += weight * at(y + dy, x + dx);
            weights += weight;
          }
        small[size_t((c * 9 + y) * 9 + x)] = uint8_t(std::lround(sum / weights));
      }
  }
  f.check_same(png(large), blurred);
}

TEST_CASE("int8_infer repeats a grey image for every colour") {
  const Fixture f(residual(3));
  const Tensor grey = random_images({1, 1, 9, 9}, 7);
  Tensor input = Tensor::empty({1, 3, 9, 9}, DType::u8);
  for (size_t i = 0; i < 3 * 81; ++i) input.mutable_data<uint8_t>()[i] = grey.data<uint8_t>()[i % 81];
  f.check_same("P5 9 9 255\n" + interleaved(grey, false), input);
}

TEST_CASE("int8_infer refuses bad input in one sentence") {
  const Fixture f(residual(3));
  const std::string good = ppm(random_images({1, 3, 9, 9}, 5));
  REQUIRE(f.classify(good).status == 0);
  const auto refuses = [](const Result& r, const std::string& named) {
    CAPTURE(r.text);
    CHECK(r.status == 1);
    CHECK(std::count(r.text.begin(), r.text.end(), '\n') == 1);
    CHECK(r.text.find(named) != std::string::npos);
  };
  refuses(f.classify(good.substr(0, good.size() - 1)), f.image);
  refuses(f.classify("P6 99999 99999 255\n"), f.image);
  refuses(f.classify("P6 16000 16000 255\n"), "16000 x 16000 pixels take 768000000 bytes; at most 67108864");
  refuses(f.classify("P5 16000 16000 255\n"), "768000000");
  refuses(f.classify("P6 9 9 65535\n"), f.image);
  refuses(f.classify("P6"), f.image);
  refuses(f.classify("no picture"), f.image);
  refuses(f.classify(""), f.image);
  refuses(f.classify(png(random_images({1, 3, 9, 9}, 5)).substr(0, 60)), f.image);
  refuses(run(f.model + " nowhere.png"), "nowhere.png: cannot be opened: No such file");
  const std::string fifo = (f.folder / "fifo").string();
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  for (const std::string& special : {fifo, std::string("/dev/zero")}) {
    refuses(run(f.model + " " + special), special + ": is not a regular file");
    refuses(run(special + " " + f.image), special + ": is not a regular file");
  }
  refuses(run(f.model + " " + f.folder.path.string()), f.folder.path.string());
  write_file(f.image, good);
  refuses(run("nowhere.safetensors " + f.image), "nowhere.safetensors");
  const std::string truncated = (f.folder / "truncated.safetensors").string();
  write_file(truncated, read_file(f.model).substr(0, 2000));
  refuses(run(truncated + " " + f.image), truncated);
  const std::string flat = (f.folder / "flat.safetensors").string();
  calibrated(mlp(1), 1, false).compile().save(flat);
  refuses(run(flat + " " + f.image), flat);
  quant::Int8Model overflowing = f.net.model();
  Tensor& scale = constant(overflowing, "fc.weight_scale");
  scale = Tensor::full(scale.shape(), 3e38);
  const std::string infinite = (f.folder / "infinite.safetensors").string();
  quant::save_int8(infinite, overflowing);
  refuses(run(infinite + " " + f.image), infinite + ": gives logits that are not finite");
  CHECK(run("").status == 2);
  CHECK(run("'' " + f.image).status == 2);
}

TEST_CASE("int8_infer takes no more memory than an image needs") {
  const Fixture f(residual(3));
  const std::string bomb = zeros(1'000'000);  // 258 MB
  CHECK(f.classify(png_file(16384, 16384, bomb)).text.find("67108864") != std::string::npos);
  CHECK(f.classify(png_file(4096, 8192, bomb, 16)).text.find("201326592 bytes") != std::string::npos);
  CHECK(f.classify(png_file(1, 1, bomb)).status == 1);
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  CHECK(usage.ru_maxrss < 100 * 1024);  // KiB
}

TEST_CASE("int8_infer fails if its answer is lost") {
  const Fixture f(residual(3));
  write_file(f.image, ppm(random_images({1, 3, 9, 9}, 5)));
  CHECK(run(f.model + " " + f.image + " > /dev/full").status == 1);
}

TEST_CASE("int8_infer is one static file of at most 2 MB") {
  const std::string program = read_file(MININN_INT8_INFER);
  CHECK(program.size() <= 2'000'000);
  Elf64_Ehdr header;
  REQUIRE(program.size() > sizeof header);
  std::memcpy(&header, program.data(), sizeof header);
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, program.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    CHECK(segment.p_type != uint32_t{PT_INTERP});  // what asks for a dynamic linker
  }
}
