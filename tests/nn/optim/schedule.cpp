#include "nn/optim/schedule.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace mininn::optim;

TEST_CASE("cosine_lr") {
  CHECK(cosine_lr(0.1, 0, 100) == Approx(0.1));
  CHECK(cosine_lr(0.1, 25, 100) == Approx(0.1 * (2 + std::sqrt(2.0)) / 4));  // (1 + cos 45 deg) / 2
  CHECK(cosine_lr(0.1, 50, 100) == Approx(0.05));
  CHECK(cosine_lr(0.1, 100, 100) == Approx(0).margin(1e-15));
  CHECK(cosine_lr(0.1, 1000, 100) == Approx(0).margin(1e-15));
  CHECK(cosine_lr(0.1, 50, 100, 0, 0.02) == Approx(0.06));
  CHECK(cosine_lr(0.1, 100, 100, 0, 0.02) == Approx(0.02));
  CHECK(cosine_lr(1, 0, 100, 4) == 0.25);
  CHECK(cosine_lr(1, 3, 100, 4) == 1);
  CHECK(cosine_lr(1, 4, 100, 4) == 1);
  CHECK(cosine_lr(1, 52, 100, 4) == Approx(0.5));
  CHECK_THROWS_AS(cosine_lr(1, 0, 10, 10), mininn::ValueError);
  CHECK_THROWS_AS(cosine_lr(1, -1, 10), mininn::ValueError);
}

TEST_CASE("one_cycle_lr") {
  // 10 steps, rise 0.3: the top is at step 2, the end at step 9.
  CHECK(one_cycle_lr(1, 0, 10) == Approx(1 / 25.0));
  CHECK(one_cycle_lr(1, 1, 10) == Approx((1 + 1 / 25.0) / 2));
  CHECK(one_cycle_lr(1, 2, 10) == Approx(1));
  CHECK(one_cycle_lr(1, 9, 10) == Approx(1 / 25.0 / 1e4));
  CHECK(one_cycle_lr(1, 99, 10) == Approx(1 / 25.0 / 1e4));
  // 11 steps, rise 5/11: the top is at step 4, halfway down at step 7.
  CHECK(one_cycle_lr(2, 7, 11, {.rise = 5 / 11.0, .start_divisor = 2, .final_divisor = 10}) == Approx((2 + 0.1) / 2));
  CHECK(one_cycle_lr(1, 0, 10, {.rise = 0.1}) == Approx(1));  // rises in no time: the top is the first step
  CHECK_THROWS_AS(one_cycle_lr(1, 0, 1), mininn::ValueError);
  CHECK_THROWS_AS(one_cycle_lr(1, 0, 10, {.rise = 1}), mininn::ValueError);
}

TEST_CASE("step_lr") {
  CHECK(step_lr(0.5, 0, 30) == 0.5);
  CHECK(step_lr(0.5, 29, 30) == 0.5);
  CHECK(step_lr(0.5, 30, 30) == Approx(0.05));
  CHECK(step_lr(0.5, 95, 30, 0.5) == Approx(0.0625));
  CHECK_THROWS_AS(step_lr(0.5, 0, 0), mininn::ValueError);
}

TEST_CASE("schedules refuse rates and factors that are negative or not finite") {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0}) {
    CHECK_THROWS_AS(cosine_lr(bad, 0, 10), mininn::ValueError);
    CHECK_THROWS_AS(cosine_lr(1, 0, 10, 0, bad), mininn::ValueError);
    CHECK_THROWS_AS(one_cycle_lr(bad, 0, 10), mininn::ValueError);
    CHECK_THROWS_AS(one_cycle_lr(1, 0, 10, {.rise = bad}), mininn::ValueError);
    CHECK_THROWS_AS(one_cycle_lr(1, 0, 10, {.start_divisor = bad}), mininn::ValueError);
    CHECK_THROWS_AS(one_cycle_lr(1, 0, 10, {.final_divisor = bad}), mininn::ValueError);
    CHECK_THROWS_AS(step_lr(bad, 0, 1), mininn::ValueError);
    CHECK_THROWS_AS(step_lr(1, 0, 1, bad), mininn::ValueError);
  }
}

TEST_CASE("schedules refuse a rate that a double does not hold") {
  for (const int64_t step : {0, 1, 4})
    CHECK_THROWS_AS(one_cycle_lr(1e300, step, 5, {.start_divisor = 1e-100}), mininn::ValueError);
  CHECK_THROWS_AS(one_cycle_lr(1e300, 4, 5, {.final_divisor = 1e-100}), mininn::ValueError);
  CHECK_THROWS_AS(step_lr(1, 400, 1, 10), mininn::ValueError);
  CHECK_THROWS_AS(step_lr(0, 400, 1, 10), mininn::ValueError);
  CHECK_THROWS_AS(cosine_lr(1e308, 50, 200, 100), mininn::ValueError);
}
