#include "nn/ema.h"

#include "core/autograd.h"
#include "core/error.h"
#include "ops/elementwise.h"

namespace mininn::nn {

Ema::Ema(std::vector<Tensor> tensors, double decay) : tensors_(std::move(tensors)), decay_(decay) {
  if (!(decay >= 0 && decay < 1)) throw ValueError(message("nn::Ema: decay is ", decay, ", it must be in [0, 1)"));
  for (const Tensor& t : tensors_) averages_.push_back(t.clone());
}

void Ema::update() {
  const NoGradGuard no_grad;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& t = tensors_[i];
    averages_[i].copy_from(is_floating(t.dtype()) ? averages_[i] * decay_ + t * (1 - decay_) : t);
  }
}

void Ema::swap() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor value = tensors_[i].clone();
    tensors_[i].copy_from(averages_[i]);
    averages_[i].copy_from(value);
  }
}

}  // namespace mininn::nn
