// What a training recipe decides beside the options.
#pragma once

#include <string>

#include "data/augment.h"
#include "examples/cifar_resnet/options.h"
#include "nn/optim/sgd.h"

namespace cifar_resnet {

inline constexpr const char* kSchedule = "cosine";  // of the classic recipe

struct Recipe {
  explicit Recipe(const TrainOptions& o);

  // Of the step that follows `step` finished ones of `total`.
  double learning_rate(int64_t step, int64_t total) const;

  mininn::data::AugmentOptions augment = mininn::data::kCifar10Augment;
  mininn::optim::SgdOptions sgd;
  double lr = 0.1;  // the highest
  double label_smoothing = 0;

 private:
  std::string schedule_;
  double warmup_;  // share of the steps
};

// Epochs of --warmup if the command line says none. A rate of 0.1 from the first step throws random weights far off,
// which a long run forgets and a short one does not.
double default_warmup(int64_t epochs);

}  // namespace cifar_resnet
