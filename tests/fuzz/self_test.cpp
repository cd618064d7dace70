// Faults on purpose, which the drivers must find: MININN_FUZZ_FAULT names one, and an input with an 'x' beyond its
// first byte triggers it.
#include <cstring>
#include <stdexcept>

#include "core/error.h"
#include "core/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/limits.h"
#include "tests/fuzz/mutate.h"

namespace mininn::fuzz {

std::vector<std::string> seeds() { return {"abc", "def"}; }

std::string mutate(std::string input, Random& random) { return mutate_bytes(std::move(input), random); }

void use(const std::filesystem::path& file) {
  const std::string input = read_file(file);
  if (input.size() > 1000) throw FileError("too long");
  if (input.find('x', 1) == input.npos) return;
  const char* const fault = std::getenv("MININN_FUZZ_FAULT");
  const std::string kind = fault ? fault : "";
  if (kind == "exception") throw std::out_of_range("planted");
  if (kind == "crash") std::abort();
  if (kind == "overrun") {
    const volatile size_t n = 16;
    const std::vector<char> small(n);
    static volatile char beyond = small.data()[n];
    (void)beyond;
  }
  for (volatile bool forever = kind == "time"; forever;) {
  }
  if (kind == "memory") {
    std::vector<std::string> blocks;  // none of them large
    for (size_t bytes = 0; bytes < 2 * kMemory; bytes += blocks.back().size())
      blocks.emplace_back(size_t{1} << 20, 'm');
  }
}

}  // namespace mininn::fuzz
