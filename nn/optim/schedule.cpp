#include "nn/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>

#include "core/error.h"

namespace mininn::optim {

namespace {

// From `start` at t = 0 to `end` at t = 1 along half a cosine.
double cosine(double start, double end, double t) {
  return end + (start - end) * 0.5 * (1 + std::cos(std::numbers::pi * t));
}

void check_rates(const char* schedule, std::initializer_list<double> rates) {
  for (const double v : rates)
    if (!(v >= 0 && std::isfinite(v)))
      throw ValueError(
          message("optim::", schedule, ": a rate or factor is ", v, ", it must be finite and not negative"));
}

// A rate that a double holds: large factors can take finite ones beyond it.
double finite(const char* schedule, double rate) {
  if (!std::isfinite(rate)) throw ValueError(message("optim::", schedule, ": the rate would be ", rate));
  return rate;
}

}  // namespace

double cosine_lr(double base, int64_t step, int64_t total, int64_t warmup, double min) {
  check_rates("cosine_lr", {base, min});
  if (warmup < 0 || warmup >= total || step < 0)
    throw ValueError(message("optim::cosine_lr: step ", step, ", warmup ", warmup, " and total ", total,
                             " must satisfy 0 <= warmup < total and step >= 0"));
  if (step < warmup) return finite("cosine_lr", base * double(step + 1) / double(warmup));
  return cosine(base, min, double(std::min(step, total) - warmup) / double(total - warmup));
}

double one_cycle_lr(double max, int64_t step, int64_t total, const OneCycleOptions& o) {
  check_rates("one_cycle_lr", {max, o.start_divisor, o.final_divisor});
  if (total < 2 || step < 0 || !(o.rise > 0 && o.rise < 1) || !(o.start_divisor > 0) || !(o.final_divisor > 0))
    throw ValueError(message("optim::one_cycle_lr: step ", step, " of ", total, ", rise ", o.rise, ", divisors ",
                             o.start_divisor, " and ", o.final_divisor,
                             " must satisfy step >= 0, total >= 2, 0 < rise < 1 and divisors > 0"));
  const double start = max / o.start_divisor, end = start / o.final_divisor;
  const double last = double(total - 1), top = o.rise * double(total) - 1, at = std::min(double(step), last);
  return finite("one_cycle_lr", at < top ? cosine(start, max, at / top) : cosine(max, end, (at - top) / (last - top)));
}

double step_lr(double base, int64_t step, int64_t every, double gamma) {
  check_rates("step_lr", {base, gamma});
  if (every < 1 || step < 0)
    throw ValueError(
        message("optim::step_lr: step ", step, " and every ", every, " must satisfy step >= 0 and every >= 1"));
  return finite("step_lr", base * std::pow(gamma, double(step / every)));
}

}  // namespace mininn::optim
