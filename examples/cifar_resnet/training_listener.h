// How a run of `train` goes, for whoever wants to write it down or show it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "examples/cifar_resnet/network.h"

namespace cifar_resnet {

struct RunPlan {
  int64_t epochs = 0, steps_per_epoch = 0;
  int64_t first_step = 0;          // finished ones of the run that is resumed
  Fp32Network* network = nullptr;  // that trains; lives until the last call of a listener
};

// What some steps came to: those since the last such result, or since the epoch or this process began. (After a resume
// inside an epoch, the first result leaves out the steps before.)
struct StepResult {
  int64_t step = 0, epoch = 0;    // finished steps; the epoch they are in, from 1
  double loss = 0, accuracy = 0;  // means over the images of these steps
  double lr = 0;                  // of the last step
  double images_per_s = 0;        // since this process began the epoch
};

// What a finished epoch came to; checkpoints keep it too.
struct EpochResult {
  int64_t epoch = 0, step = 0;  // finished ones, from the start of the run
  Quality train, test;
  std::optional<Quality> validation;
  double lr = 0, seconds = 0, images_per_s = 0;  // lr of the last step; the others of training alone
};

class TrainingListener {
 public:
  virtual ~TrainingListener() = default;
  // Before anything else. What an earlier run said of steps after plan.first_step is void; `history` is of the epochs
  // before it.
  virtual void begin(const RunPlan& plan, std::span<const EpochResult> history) = 0;
  // After every step; `step` are finished now. Training waits for it and must find the network as it was.
  virtual void batch(int64_t /*step*/) {}
  virtual void step(const StepResult& s) = 0;
  virtual void epoch(const EpochResult& e) = 0;
  // After the last epoch, which may come earlier than planned. A run that is interrupted or fails does not get here.
  virtual void end() {}
};

}  // namespace cifar_resnet
