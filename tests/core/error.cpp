#include "core/error.h"

#include <cstdio>
#include <limits>

#include "tests/support/catch.h"
#include "tests/support/comma_locale.h"

using namespace mininn;
using namespace mininn::testing;

TEST_CASE("a message writes numbers as %g does") {
  using Limits = std::numeric_limits<double>;
  for (const double v : {0.0, -0.0, 1.0, 0.1, 1.0 / 3, 1e6, 999999.5, 1e-5, 0.0001, -12345678.0, 1e300, 5e-324,
                         Limits::infinity(), -Limits::infinity(), Limits::max(), Limits::quiet_NaN()}) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", v);
    CHECK(message(v) == text);
  }
  CHECK(message(1.5f, ' ', 7, ' ', int64_t{-8}) == "1.5 7 -8");
}

TEST_CASE("a message does not depend on the locale") {
  const CommaLocale comma;
  if (!comma) return;
  CHECK(message(99.9, ' ', 1234567, ' ', 1.5e10) == "99.9 1234567 1.5e+10");
}
