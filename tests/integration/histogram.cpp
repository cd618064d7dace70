#include "examples/cifar_resnet/histogram.h"

#include <limits>
#include <numeric>

#include "core/error.h"
#include "tests/support/catch.h"

using namespace cifar_resnet;

TEST_CASE("bins of a histogram hold whole numbers of codes") {
  for (const double step : {0.037, 1.0, 3e-5})
    for (const int codes : {7, 80, 81, 200, 256}) {
      INFO(codes << " codes of " << step);
      std::vector<double> before, after;
      for (int code = -100; code < codes - 100; ++code) {
        after.push_back(code * step);
        for (const double within : {-0.4, 0.1, 0.4}) before.push_back((code + within) * step);
      }
      const BeforeAfter h = before_after("layer", before, after, step);
      CHECK(h.after.counts.size() <= 80);
      CHECK(std::accumulate(h.after.counts.begin(), h.after.counts.end(), 0.0) == codes);
      for (size_t i = 0; i + 1 < h.after.counts.size(); ++i) {  // the last one may lie half outside
        CHECK(h.after.counts[i] == h.after.counts[0]);
        CHECK(h.before.counts[i] == 3 * h.after.counts[0]);
      }
    }
}

TEST_CASE("a histogram without a step has 80 bins, also of equal values") {
  const std::vector<double> equal(5, 2.0), values{0, 1, 2, 3, 4}, outside{-1, 0, 4, 9};
  const BeforeAfter h = before_after("layer", values, outside);
  CHECK(h.before.counts.size() == 80);
  CHECK(h.before.lo == 0);
  CHECK(h.before.hi == 4);
  CHECK(h.before.counts[20] == 1);
  CHECK(h.after.counts.front() == 2);
  CHECK(h.after.counts.back() == 2);
  CHECK(before_after("layer", equal, equal).after.counts.front() == 5);

  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> some{inf, 1, nan, 3, -inf}, none{nan, inf};
  for (const double step : {0.0, 0.5}) {
    const BeforeAfter finite = before_after("layer", some, none, step);
    CHECK(std::accumulate(finite.before.counts.begin(), finite.before.counts.end(), 0.0) == 2);
    CHECK(std::accumulate(finite.after.counts.begin(), finite.after.counts.end(), 0.0) == 0);
    CHECK_THROWS_AS(before_after("layer", none, some, step), mininn::ValueError);
    CHECK_THROWS_AS(before_after("layer", {}, some, step), mininn::ValueError);
  }
}
