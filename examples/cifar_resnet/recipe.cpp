#include "examples/cifar_resnet/recipe.h"

#include <algorithm>

#include "nn/optim/schedule.h"

namespace cifar_resnet {

using namespace mininn;

double default_warmup(int64_t epochs) { return std::min(1.0, 0.2 * double(epochs)); }

Recipe::Recipe(const TrainOptions& o)
    : sgd{.momentum = o.momentum, .weight_decay = o.weight_decay},
      schedule_(o.schedule.value_or(kSchedule)),
      warmup_(o.warmup.value_or(default_warmup(o.epochs)) / double(o.epochs)) {
  if (o.recipe == "fast") {  // Jordan 2024 (arXiv:2404.00498) uses the same ingredients
    augment.flip = data::Flip::alternating;
    augment.border = Border::reflect;
    label_smoothing = 0.1;
    sgd.nesterov = o.momentum > 0;
    schedule_ = "one-cycle";
    lr = 0.2;  // docs/results.md
  }
  augment.cutout = int(o.cutout);
  lr = o.lr.value_or(lr);
}

double Recipe::learning_rate(int64_t step, int64_t total) const {
  if (schedule_ == "one-cycle") return optim::one_cycle_lr(lr, step, std::max<int64_t>(total, 2));
  if (schedule_ == "step") return optim::step_lr(lr, step, std::max<int64_t>(total / 3, 1));
  return optim::cosine_lr(lr, step, total, int64_t(warmup_ * double(total)));
}

}  // namespace cifar_resnet
