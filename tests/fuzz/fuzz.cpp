#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/allocator.h"
#include "core/error.h"
#include "tests/fuzz/limits.h"

// One allocation beyond the limit is a finding even if nothing touches the memory. A small quarantine: freed blocks are
// no memory that an input takes.
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=512:quarantine_size_mb=16:detect_leaks=1";
}
extern "C" const char* __lsan_default_suppressions() { return "leak:libfontconfig\n"; }  // what it keeps, it may keep
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

namespace mininn::fuzz {

bool run(const std::string& input) {
  static const int file = ::memfd_create("input", MFD_CLOEXEC);
  static const std::filesystem::path path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, input.data(), input.size(), 0) != ssize_t(input.size()))
    throw std::runtime_error("the input cannot be written");
  bool accepted = true;
  try {
    use(path);
  } catch (const Error&) {
    accepted = false;
  }
  cpu_allocator().release_cached();  // what is used after it was freed shows only in memory that was given back
  return accepted;
}

}  // namespace mininn::fuzz
