// The event files that TensorBoard reads: TFRecords of tensorflow.Event messages.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/file.h"
#include "examples/cifar_resnet/training_listener.h"

namespace cifar_resnet {

// CRC-32C (RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes);

// A TFRecord that holds `data`.
std::string tf_record(std::string_view data);

struct Scalar {
  std::string_view tag;
  double value;
};

// Messages of type tensorflow.Event (tensorflow/core/util/event.proto), encoded. Times are in seconds since 1970.
std::string version_event(double time);  // begins a file
std::string scalars_event(double time, int64_t step, std::span<const Scalar> scalars);
// What earlier files of the folder hold for `step` and later is void.
std::string start_event(double time, int64_t step);

// Writes how a run goes into a new file of a folder; begin() makes it.
class EventFile final : public TrainingListener {
 public:
  // Throws FileError if nothing can be written there.
  explicit EventFile(std::filesystem::path folder);

  // All throw FileError.
  void begin(const RunPlan& plan, std::span<const EpochResult> history) override;
  void step(const StepResult& s) override;
  void epoch(const EpochResult& e) override;

 private:
  void append(std::string_view event);

  std::filesystem::path folder_, file_;
  mininn::File out_;
};

}  // namespace cifar_resnet
