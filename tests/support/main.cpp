// The tests' main: Catch2's, compiled once.
#define CATCH_CONFIG_RUNNER
#include <cstdlib>

#include "tests/support/catch.h"

int main(int argc, char** argv) {
  ::setenv("MININN_TUNE", "off", 0);  // nothing is measured behind a test's back, nor written to the user's cache
  return Catch::Session().run(argc, argv);
}
