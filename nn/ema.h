// Exponential moving average of a network's state (Polyak and Juditsky 1992; as used by Tarvainen and Valpola 2017).
#pragma once

#include <vector>

#include "core/tensor.h"

namespace mininn::nn {

class Ema {
 public:
  // Starts from the present values. Pass ParamStore::all() to average batch norm's statistics as well; integer tensors
  // are copied. Throws ValueError unless 0 <= decay < 1.
  Ema(std::vector<Tensor> tensors, double decay);

  // average = decay * average + (1 - decay) * value; call it after each optimizer step.
  void update();
  // Exchanges the values and the averages: once to evaluate with the averages, once more to train on.
  void swap();

  const std::vector<Tensor>& averages() const { return averages_; }

 private:
  std::vector<Tensor> tensors_, averages_;
  double decay_;
};

}  // namespace mininn::nn
