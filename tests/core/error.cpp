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

TEST_CASE("an excerpt of a text is short and cannot drive a terminal") {
  CHECK(excerpt("") == "");
  CHECK(excerpt(std::string(100, 'a')) == std::string(100, 'a'));
  CHECK(excerpt(std::string(1'000'000, 'a') + "end") == std::string(80, 'a') + "..." + std::string(17, 'a') + "end");
  CHECK(excerpt("a\x1b[2Jb\nc\rd\x7f") == "a\\x1b[2Jb\\x0ac\\x0dd\\x7f");
  CHECK(excerpt("\xc2\x9b"
                "2J \xc3\xa9 \xc2\xb5") == "\\x9b2J \xc3\xa9 \xc2\xb5");
  std::string letters;  // of two bytes
  for (int i = 0; i < 100; ++i) letters += "\xc3\xa9";
  CHECK(excerpt("a" + letters) == ("a" + letters).substr(0, 79) + "..." + letters.substr(0, 20));
  CHECK(excerpt("ab" + letters) == ("ab" + letters).substr(0, 80) + "..." + letters.substr(0, 20));
}

TEST_CASE("an error's message is bounded and cannot drive a terminal") {
  CHECK(std::string(ValueError("a\n  b\x1b[2J").what()) == "a\n  b\\x1b[2J");
  const std::string text = FileError("begin " + std::string(1'000'000, 'a') + " end").what();
  CHECK(text.size() < 5000);
  CHECK(text.starts_with("begin aaa"));
  CHECK(text.ends_with("aaa end"));
}
