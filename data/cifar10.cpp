#include "data/cifar10.h"

#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/sha256.h"

namespace mininn::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRecords = 10000;  // in each file
constexpr int64_t kPixels = 3 * 32 * 32;
constexpr int64_t kRecordBytes = 1 + kPixels;
constexpr int64_t kFileBytes = kRecords * kRecordBytes;

struct Part {
  const char* name;
  const char* sha256;
};
constexpr Part kTrainFiles[] = {
    {"data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
    {"data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
    {"data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
    {"data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
    {"data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
};
constexpr Part kTestFile = {"test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"};

std::string read_part(const fs::path& path) {
  const File in = open_regular_file(path);
  std::string bytes =
      read_all(in.get(), size_t(kFileBytes) + 1);  // one more than expected, to see that there is no more
  const auto got = int64_t(bytes.size());
  if (std::ferror(in.get())) throw FileError(message(path.string(), ": reading failed at byte ", got));
  if (got != kFileBytes)
    throw FileError(message(path.string(),
                            ": is not a CIFAR-10 file: ", got > kFileBytes ? "more than " : "ends at byte ",
                            got > kFileBytes ? kFileBytes : got, ", expected ", kFileBytes, " bytes"));
  return bytes;
}

}  // namespace

std::optional<fs::path> find_cifar10(const std::optional<fs::path>& given) {
  const fs::path subfolder = "cifar-10-batches-bin";
  const auto holds_data = [](const fs::path& dir) {
    std::error_code ignored;  // a folder that may not be looked into is not the one
    return fs::exists(dir / kTrainFiles[0].name, ignored);
  };
  if (given) {
    for (const fs::path& dir : {*given, *given / subfolder})
      if (holds_data(dir)) return dir;
    throw FileError(message(given->string(), ": has no ", kTrainFiles[0].name, " (the binary version of CIFAR-10)"));
  }
  std::vector<fs::path> places = {"data" / subfolder, "../shared/data" / subfolder};
  if (const char* env = std::getenv("CIFAR10_DIR")) places.insert(places.begin() + 1, env);
  for (const fs::path& dir : places)
    if (holds_data(dir)) return dir;
  return {};
}

Dataset load_cifar10(const fs::path& dir, Split split) {
  check_split(split);
  const std::span<const Part> files = split == Split::train ? std::span(kTrainFiles) : std::span(&kTestFile, 1);
  const int64_t n = int64_t(files.size()) * kRecords;
  Dataset d{Tensor::empty({n, 3, 32, 32}, DType::u8),
            Tensor::empty({n}, DType::i64),
            {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
            dir.string()};
  uint8_t* image = d.images.mutable_data<uint8_t>().data();
  int64_t* label = d.labels.mutable_data<int64_t>().data();
  for (const Part& file : files) {
    const std::string bytes = read_part(dir / file.name);
    for (int64_t i = 0; i < kRecords; ++i, image += kPixels) {
      const auto* record = reinterpret_cast<const uint8_t*>(bytes.data()) + i * kRecordBytes;
      if (record[0] >= d.classes.size())
        throw FileError(message((dir / file.name).string(), ": byte ", i * kRecordBytes, ": label ", int(record[0]),
                                " of record ", i, " is not in 0..9"));
      *label++ = record[0];
      std::memcpy(image, record + 1, size_t(kPixels));
    }
  }
  return d;
}

void verify_cifar10(const fs::path& dir) {
  std::vector<Part> files(std::begin(kTrainFiles), std::end(kTrainFiles));
  files.push_back(kTestFile);
  for (const Part& file : files) {
    const std::string bytes = read_part(dir / file.name);
    const std::string sum = Sha256().update(bytes.data(), bytes.size()).hex();
    if (sum != file.sha256)
      throw FileError(message((dir / file.name).string(), ": SHA-256 is ", sum, ", expected ", file.sha256,
                              ": the file is damaged"));
  }
}

}  // namespace mininn::data
