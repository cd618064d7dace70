#include "examples/cifar_resnet/event_file.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace cifar_resnet;
using mininn::testing::TempFolder;

TEST_CASE("CRC-32C of the examples in RFC 3720, appendix B.4") {
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) rising += char(i), falling += char(31 - i);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aa);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43);
  CHECK(crc32c(rising) == 0x46dd794e);
  CHECK(crc32c(falling) == 0x113fdb5c);
  const unsigned char read_command[] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                        0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                        0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  CHECK(crc32c({reinterpret_cast<const char*>(read_command), sizeof read_command}) == 0xd9963a56);
}

// As TensorBoard 2.21 writes them: RecordWriter, and SerializeToString() of event_pb2.
TEST_CASE("event files are TensorBoard's, byte for byte") {
  const Scalar scalars[] = {{"test/loss", 0.25}, {"test/accuracy", 0.5}};
  const std::string file =
      tf_record(version_event(1.5)) + tf_record(start_event(1.5, 300)) + tf_record(scalars_event(1.5, 300, scalars));
  const unsigned char expected[] = {
      0x18, 0,    0,    0,    0,    0,    0,    0,    0xa3, 0x7f, 0x4b, 0x22, 0x09, 0,    0,    0,    0,    0,
      0,    0xf8, 0x3f, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32,
      0x2a, 0x28, 0x64, 0x6c, 0x10, 0,    0,    0,    0,    0,    0,    0,    0x95, 0xfb, 0xfe, 0x18, 0x09, 0,
      0,    0,    0,    0,    0,    0xf8, 0x3f, 0x10, 0xac, 0x02, 0x3a, 0x02, 0x08, 0x01, 0x71, 0x3b, 0x78, 0x8a,
      0x36, 0,    0,    0,    0,    0,    0,    0,    0x4f, 0x57, 0x8c, 0xef, 0x09, 0,    0,    0,    0,    0,
      0,    0xf8, 0x3f, 0x10, 0xac, 0x02, 0x2a, 0x28, 0x0a, 0x10, 0x0a, 0x09, 0x74, 0x65, 0x73, 0x74, 0x2f, 0x6c,
      0x6f, 0x73, 0x73, 0x15, 0,    0,    0x80, 0x3e, 0x0a, 0x14, 0x0a, 0x0d, 0x74, 0x65, 0x73, 0x74, 0x2f, 0x61,
      0x63, 0x63, 0x75, 0x72, 0x61, 0x63, 0x79, 0x15, 0,    0,    0,    0x3f, 0x64, 0x38, 0x5d, 0x5e};
  CHECK(file == std::string(reinterpret_cast<const char*>(expected), sizeof expected));
}

TEST_CASE("every run writes an event file of its own, the later one behind the earlier in the order of names") {
  const TempFolder folder;
  const auto files = [&] {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  };
  EventFile first(folder.path);
  CHECK(files().empty());  // a run that never begins leaves nothing
  first.begin({}, {});
  first.step({.step = 50, .loss = 1.5});
  REQUIRE(files().size() == 1);
  const auto old_file = files()[0];
  const std::string before = mininn::read_file(old_file);
  CHECK(before.find("train/loss") != before.npos);  // it is there before the run ends

  EventFile second(folder.path);
  RunPlan resumed;
  resumed.first_step = 20;
  second.begin(resumed, {});
  EpochResult e;
  e.step = 60;
  e.validation = Quality{1.25, 0.5};
  second.epoch(e);
  REQUIRE(files().size() == 2);
  CHECK(files()[0] == old_file);
  CHECK(mininn::read_file(old_file) == before);
  const std::string after = mininn::read_file(files()[1]);
  for (const char* tag : {"train_epoch/loss", "train_epoch/images_per_s", "test/accuracy", "validation/loss"}) {
    INFO(tag);
    CHECK(after.find(tag) != after.npos);
  }
}

TEST_CASE("a folder that cannot be written is an error before the run") {
  const TempFolder folder;
  mininn::testing::write_file(folder / "file", "");
  CHECK_THROWS_AS(EventFile(folder / "file"), mininn::FileError);
  CHECK_THROWS_AS(EventFile(folder / "file/below"), mininn::FileError);
}
