// Who is told how a run of `train` goes.
#pragma once

#include <memory>
#include <vector>

#include "data/dataset.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/training_listener.h"

namespace cifar_resnet {

// metrics.jsonl, and what the options ask for beside it.
class Listeners final : public TrainingListener {
 public:
  // Throws FileError or ValueError if one of them cannot be there.
  Listeners(const TrainOptions& o, const mininn::data::Dataset& test_set);

  void begin(const RunPlan& plan, std::span<const EpochResult> history) override;
  void batch(int64_t step) override;
  void step(const StepResult& s) override;
  void epoch(const EpochResult& e) override;
  void end() override;

 private:
  std::vector<std::unique_ptr<TrainingListener>> all_;
};

}  // namespace cifar_resnet
