// The tests' main: Catch2's, compiled once.
#define CATCH_CONFIG_RUNNER
#include <cstdlib>

#include "tests/support/catch.h"

// For the sanitizers: tests ask for more memory than there is.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

int main(int argc, char** argv) {
  ::setenv("MININN_TUNE", "off", 0);  // nothing is measured behind a test's back, nor written to the user's cache
  return Catch::Session().run(argc, argv);
}
