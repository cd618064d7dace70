#include "data/cifar10.h"

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::data;
namespace fs = std::filesystem;

namespace {

constexpr size_t kRecord = 3073, kRecords = 10000;

// A folder with files made by the test, removed afterwards.
struct FakeCifar {
  testing::TempFolder folder;
  fs::path dir = folder.path;

  // Record r has label r mod 10; its pixel byte p is (r + p) mod 251.
  static std::string content() {
    std::string bytes(kRecord * kRecords, '\0');
    for (size_t r = 0; r < kRecords; ++r) {
      char* record = bytes.data() + r * kRecord;
      record[0] = char(r % 10);
      for (size_t p = 0; p + 1 < kRecord; ++p) record[1 + p] = char(uint8_t((r + p) % 251));
    }
    return bytes;
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir / name, std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
  }
};

}  // namespace

TEST_CASE("CIFAR-10 records become planes and labels") {
  const FakeCifar fake;
  fake.write("test_batch.bin", FakeCifar::content());
  const Dataset d = load_cifar10(fake.dir, Split::test);
  CHECK(d.images.shape() == Shape{10000, 3, 32, 32});
  CHECK(d.images.dtype() == DType::u8);
  CHECK(d.labels.dtype() == DType::i64);
  REQUIRE(d.classes.size() == 10);
  CHECK(d.classes[0] == "airplane");
  CHECK(d.classes[9] == "truck");
  CHECK(d.source == fake.dir.string());
  const auto pixels = d.images.data<uint8_t>();
  const auto labels = d.labels.data<int64_t>();
  bool same = true;
  for (size_t r = 0; r < kRecords; ++r) {
    same = same && labels[r] == int64_t(r % 10);
    for (size_t p = 0; p < 3072; ++p) same = same && pixels[r * 3072 + p] == (r + p) % 251;
  }
  CHECK(same);
}

TEST_CASE("the training set is the five batches in order") {
  const FakeCifar fake;
  const std::string base = FakeCifar::content();
  for (int b = 1; b <= 5; ++b) {
    std::string bytes = base;
    bytes[1] = char(b);  // the first pixel tells the files apart
    fake.write("data_batch_" + std::to_string(b) + ".bin", bytes);
  }
  const Dataset d = load_cifar10(fake.dir, Split::train);
  REQUIRE(d.size() == 50000);
  for (size_t b = 0; b < 5; ++b) CHECK(d.images.data<uint8_t>()[b * kRecords * 3072] == b + 1);
}

TEST_CASE("damaged CIFAR-10 files are refused, naming file and byte") {
  const FakeCifar fake;
  std::string bytes = FakeCifar::content();
  SECTION("missing") {
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test), Catch::Contains("test_batch.bin: cannot be opened"));
  }
  SECTION("a folder instead of a file") {
    fs::create_directory(fake.dir / "test_batch.bin");
    CHECK_THROWS_AS(load_cifar10(fake.dir, Split::test), FileError);
  }
  SECTION("a FIFO instead of a file") {
    REQUIRE(::mkfifo((fake.dir / "test_batch.bin").c_str(), 0600) == 0);
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test), Catch::Contains("test_batch.bin: is not a regular file"));
  }
  SECTION("truncated") {
    bytes.resize(12345);
    fake.write("test_batch.bin", bytes);
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test),
                      Catch::Contains("test_batch.bin") && Catch::Contains("ends at byte 12345"));
  }
  SECTION("empty") {
    fake.write("test_batch.bin", "");
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test), Catch::Contains("ends at byte 0"));
  }
  SECTION("too long") {
    fake.write("test_batch.bin", bytes + 'x');
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test), Catch::Contains("more than 30730000"));
  }
  SECTION("label 10") {
    bytes[kRecord * 77] = 10;
    fake.write("test_batch.bin", bytes);
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test),
                      Catch::Contains("byte 236621") && Catch::Contains("label 10"));
  }
  SECTION("label 255") {
    bytes[0] = char(0xff);
    fake.write("test_batch.bin", bytes);
    CHECK_THROWS_WITH(load_cifar10(fake.dir, Split::test), Catch::Contains("label 255"));
  }
  SECTION("verification") {
    fake.write("data_batch_1.bin", bytes);
    CHECK_THROWS_WITH(verify_cifar10(fake.dir), Catch::Contains("data_batch_1.bin: SHA-256 is"));
  }
}

TEST_CASE("a folder given by the user is the only place looked at") {
  const FakeCifar fake;
  CHECK_THROWS_AS(find_cifar10(fake.dir), FileError);
  CHECK_THROWS_AS(find_cifar10(fake.dir / "nowhere"), FileError);
  fs::create_directory(fake.dir / "cifar-10-batches-bin");
  fake.write("cifar-10-batches-bin/data_batch_1.bin", "x");
  CHECK(find_cifar10(fake.dir) == fake.dir / "cifar-10-batches-bin");
  CHECK(find_cifar10(fake.dir / "cifar-10-batches-bin") == fake.dir / "cifar-10-batches-bin");
}

TEST_CASE("CIFAR10_DIR is looked at when no folder is given") {
  const FakeCifar fake;
  const fs::path before = fs::current_path();
  const char* old = std::getenv("CIFAR10_DIR");
  const std::string saved = old ? old : "";
  fs::create_directory(fake.dir / "empty");
  fs::current_path(fake.dir / "empty");  // neither data/ nor ../shared is here
  ::unsetenv("CIFAR10_DIR");
  CHECK_FALSE(find_cifar10());
  fake.write("data_batch_1.bin", "x");
  ::setenv("CIFAR10_DIR", fake.dir.c_str(), 1);
  CHECK(find_cifar10() == fake.dir);
  fs::create_directories("data/cifar-10-batches-bin");
  fake.write("empty/data/cifar-10-batches-bin/data_batch_1.bin", "x");
  CHECK(find_cifar10() == fs::path("data/cifar-10-batches-bin"));  // the project's own folder comes first
  fs::current_path(before);
  old ? ::setenv("CIFAR10_DIR", saved.c_str(), 1) : ::unsetenv("CIFAR10_DIR");
}

TEST_CASE("the real CIFAR-10 is what it should be") {
  const fs::path before = fs::current_path();
  fs::current_path(MININN_SOURCE_DIR);  // the places are relative to it
  auto dir = find_cifar10();
  if (dir) dir = fs::absolute(*dir);
  fs::current_path(before);
  if (!dir) {
    WARN("SKIP: CIFAR-10 is not on this machine (data/fetch_cifar10.sh gets it)");
    return;
  }
  CHECK_NOTHROW(verify_cifar10(*dir));
  const Dataset train = load_cifar10(*dir, Split::train), test = load_cifar10(*dir, Split::test);
  for (const Dataset* d : {&train, &test}) {
    std::map<int64_t, int64_t> count;
    for (const int64_t label : d->labels.data<int64_t>()) ++count[label];
    CHECK(count.size() == 10);
    for (const auto& [label, n] : count) CHECK(n == d->size() / 10);
  }
}
