// CIFAR-10 files: what loads can be trained on. An input of 30 MB is described by what differs from a valid file: one
// byte for the split, four for the file's size, then three for a record, two for a byte of it and one for its value,
// again and again.
#include "data/cifar10.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/augment.h"
#include "data/loader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

using namespace std::string_literals;

namespace {

constexpr uint32_t kRecord = 3073, kFile = 10'000 * kRecord;

uint32_t number(const std::string& bytes, size_t at, size_t width) {
  uint32_t v = 0;
  if (at + width <= bytes.size()) std::memcpy(&v, bytes.data() + at, width);
  return v;
}

std::string described(char split, uint32_t size, const std::string& changes = {}) {
  return split + std::string(reinterpret_cast<const char*>(&size), 4) + changes;
}

// Files of zeros in the folder; the first training file and the test file are the same one.
class Folder {
 public:
  const testing::TempFolder temp;
  const File file = open_file(temp / "test_batch.bin", "wb");

  Folder() {
    testing::write_file(temp / "blank", "");
    std::filesystem::resize_file(temp / "blank", kFile);
    std::filesystem::create_symlink("test_batch.bin", temp / "data_batch_1.bin");
    for (const char* name : {"data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"})
      std::filesystem::create_symlink("blank", temp / name);
  }

  void make(const std::string& input) {
    for (const int64_t offset : changed_) write(0, offset);
    changed_.clear();
    std::filesystem::resize_file(temp / "test_batch.bin", std::min(number(input, 1, 4), 2 * kFile));
    for (size_t at = 5; at + 6 <= input.size(); at += 6) {
      changed_.push_back(int64_t(number(input, at, 3)) * kRecord + number(input, at + 3, 2));
      write(input[at + 5], changed_.back());
    }
  }

 private:
  void write(char byte, int64_t offset) const {
    if (offset < 2 * kFile) require(::pwrite(::fileno(file.get()), &byte, 1, offset) == 1, "a byte can be written");
  }

  std::vector<int64_t> changed_;  // bytes that are not 0
};

}  // namespace

std::vector<std::string> seeds() {
  return {described(0, kFile), described(1, kFile),
          described(0, kFile, "\1\0\0\0\0\5\2\0\0\1\0\xff"s + std::string(6, '\0'))};
}

std::string mutate(std::string input, Random& random) {
  input.resize(std::max<size_t>(input.size(), 5));
  if (!one_in(random, 4)) {  // one more byte, most often a label
    const uint32_t record = one_in(random, 4) ? 9999 + uint32_t(below(random, 3)) : uint32_t(below(random, 10'000)),
                   byte = one_in(random, 3) ? uint32_t(below(random, kRecord + 2)) : 0;
    input.append(reinterpret_cast<const char*>(&record), 3).append(reinterpret_cast<const char*>(&byte), 2);
    input += one_in(random, 3) ? char(random()) : char(below(random, 11));
  }
  if (one_in(random, 6)) {
    const uint32_t sizes[] = {0, 1, kRecord, kFile - kRecord, kFile - 1, kFile + 1, kFile + kRecord, 2 * kFile, kFile};
    std::memcpy(input.data() + 1, &pick(random, sizes), 4);
  }
  if (one_in(random, 10)) input[0] ^= 1;
  return one_in(random, 10) ? mutate_bytes(std::move(input), random) : input;
}

void use(const std::filesystem::path& description) {
  static Folder folder;
  const std::string input = read_file(description);
  if (input.size() < 5) throw FileError("no description of a file");
  folder.make(input);
  data::find_cifar10(folder.temp.path);
  const bool train = input[0] & 1;
  const data::Dataset set = data::load_cifar10(folder.temp.path, train ? data::Split::train : data::Split::test);
  require(set.size() == (train ? 50'000 : 10'000), "a set has the published size");
  for (const int64_t label : set.labels.data<int64_t>())
    require(label >= 0 && label < int64_t(set.classes.size()), "every label has a class");
  const data::Loader loader(set, {.batch_size = 8, .augment = data::kCifar10Augment});
  for (const auto& [images, labels] : loader.epoch(0, loader.batches() - 2))
    require(images.shape() == Shape{8, 3, 32, 32} && labels.numel() == 8, "a batch is whole");
}

}  // namespace mininn::fuzz
