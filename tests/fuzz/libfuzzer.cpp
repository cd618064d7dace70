// The targets as libFuzzer wants them. It starts with an empty input, which the mutator replaces by a seed.
#include <cstring>

#include "core/parallel.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/limits.h"

using namespace mininn;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  ::setenv("MININN_TUNE", "off", 0);
  set_num_threads(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::run({reinterpret_cast<const char*>(data), size});
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const std::vector<std::string> seeds = fuzz::seeds();
  fuzz::Random random(seed);
  std::string out(reinterpret_cast<const char*>(data), size);
  if (size < 4 || fuzz::one_in(random, 100))
    out = fuzz::pick(random, seeds);
  else if (fuzz::one_in(random, 5))
    return LLVMFuzzerMutate(data, size, max_size);
  else
    out = fuzz::mutate(std::move(out), random);
  out.resize(std::min(out.size(), max_size));
  std::memcpy(data, out.data(), out.size());
  return out.size();
}
