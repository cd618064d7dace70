// Learning-rate schedules: pure functions of the step, which counts from 0 and is held at the last one. All throw
// ValueError for rates and factors that are negative or not finite, and for a result that is not.
#pragma once

#include <cstdint>

namespace mininn::optim {

// Rises linearly over `warmup` steps (base/warmup at step 0, base at step warmup - 1), then falls along a half cosine
// from base to min at step `total` (Loshchilov and Hutter 2017). Throws ValueError unless 0 <= warmup < total.
double cosine_lr(double base, int64_t step, int64_t total, int64_t warmup = 0, double min = 0);

struct OneCycleOptions {
  double rise = 0.3;           // fraction of the steps that go up
  double start_divisor = 25;   // starts at max / start_divisor
  double final_divisor = 1e4;  // ends at start / final_divisor
};
// Smith's one-cycle policy (Smith and Topin 2019) with cosine slopes, as torch.optim.lr_scheduler.OneCycleLR. Throws
// ValueError unless total >= 2 and 0 < rise < 1.
double one_cycle_lr(double max, int64_t step, int64_t total, const OneCycleOptions& o = {});

// base * gamma^(step / every). Throws ValueError unless every >= 1.
double step_lr(double base, int64_t step, int64_t every, double gamma = 0.1);

}  // namespace mininn::optim
