#include "examples/cifar_resnet/event_file.h"

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace cifar_resnet {

using namespace mininn;

namespace {

// Fields of protobuf's wire format: a key of number and type, then the value.
enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += char(v | 0x80);
  return out + char(v);
}

// The bytes of an integer in memory, which are little-endian as files want them.
template <class T>
std::string raw(T v) {
  static_assert(std::endian::native == std::endian::little);
  return std::string(reinterpret_cast<const char*>(&v), sizeof v);
}

std::string key(int number, Wire type) { return varint(uint64_t(number) << 3 | uint64_t(type)); }
std::string integer_field(int number, int64_t v) { return key(number, Wire::varint) + varint(uint64_t(v)); }
std::string double_field(int number, double v) { return key(number, Wire::fixed64) + raw(v); }
std::string float_field(int number, float v) { return key(number, Wire::fixed32) + raw(v); }
std::string bytes_field(int number, std::string_view v) {
  return key(number, Wire::bytes) + varint(v.size()) + std::string(v);
}

// The fields of tensorflow.Event that are used (event.proto): wall_time = 1, step = 2, file_version = 3, summary = 5,
// session_log = 7.
std::string event(double time, int64_t step) { return double_field(1, time) + integer_field(2, step); }

// TensorFlow's way to keep the sum of something that holds sums itself from being that sum (record_writer.h).
uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8u; }

std::chrono::microseconds now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch());
}
double seconds_now() { return 1e-6 * double(now().count()); }

// TensorBoard takes what has "tfevents" in its name, in the order of names: a later file must have a greater one.
Path new_file_name() {
  char name[64];
  const int64_t us = now().count();
  std::snprintf(name, sizeof name, "events.out.tfevents.%010lld.%06lld.mininn", (long long)(us / 1'000'000),
                (long long)(us % 1'000'000));
  return name;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= uint8_t(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

std::string tf_record(std::string_view data) {
  const std::string length = raw(uint64_t{data.size()});
  return length + raw(masked(crc32c(length))) + std::string(data) + raw(masked(crc32c(data)));
}

std::string version_event(double time) { return double_field(1, time) + bytes_field(3, "brain.Event:2"); }

// summary.proto: Summary.value = 1; Value.tag = 1, .simple_value = 2.
std::string scalars_event(double time, int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& s : scalars) summary += bytes_field(1, bytes_field(1, s.tag) + float_field(2, float(s.value)));
  return event(time, step) + bytes_field(5, summary);
}

// event.proto: SessionLog.status = 1, START = 1.
std::string start_event(double time, int64_t step) { return event(time, step) + bytes_field(7, integer_field(1, 1)); }

EventFile::EventFile(Path folder) : folder_(std::move(folder)) {
  make_folder(folder_);
  require_writable(folder_ / new_file_name());
}

void EventFile::begin(const RunPlan& plan, std::span<const EpochResult>) {
  file_ = folder_ / new_file_name();
  out_ = open_file(file_, "wbx");
  append(version_event(seconds_now()));
  append(start_event(seconds_now(), plan.first_step + 1));
}

void EventFile::step(const StepResult& s) {
  const Scalar scalars[] = {{"train/loss", s.loss},
                            {"train/accuracy", s.accuracy},
                            {"train/lr", s.lr},
                            {"train/images_per_s", s.images_per_s}};
  append(scalars_event(seconds_now(), s.step, scalars));
}

void EventFile::epoch(const EpochResult& e) {
  std::vector<Scalar> scalars{{"train_epoch/loss", e.train.loss}, {"train_epoch/accuracy", e.train.accuracy},
                              {"train_epoch/lr", e.lr},           {"train_epoch/images_per_s", e.images_per_s},
                              {"test/loss", e.test.loss},         {"test/accuracy", e.test.accuracy}};
  if (e.validation) {
    scalars.push_back({"validation/loss", e.validation->loss});
    scalars.push_back({"validation/accuracy", e.validation->accuracy});
  }
  append(scalars_event(seconds_now(), e.step, scalars));
}

void EventFile::append(std::string_view event) {
  const std::string record = tf_record(event);
  // Whole records reach the reader at once, whatever ends the run.
  if (!out_ || std::fwrite(record.data(), 1, record.size(), out_.get()) != record.size() ||
      std::fflush(out_.get()) != 0)
    throw FileError(message(file_.string(), ": cannot be written: ", std::strerror(errno)));
}

}  // namespace cifar_resnet
