// What a fuzz target brings, and what both drivers (driver.cpp, libfuzzer.cpp) bring to it.
//
// A finding is: any exception but mininn::Error, any crash, any report of a sanitizer, more CPU time or memory for one
// input than limits.h allows, and a claim of require() that does not hold.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

namespace mininn::fuzz {

using Random = std::mt19937_64;  // not the library's own: a fault of it must not choose the inputs

// --- every target defines these ---

// Valid inputs, where mutations start.
std::vector<std::string> seeds();
// A changed input that gets past the format's own checks (lengths, sums) more often than not.
std::string mutate(std::string input, Random& random);
// Reads the input and does with it what a program would. Throws Error where it is refused.
void use(const std::filesystem::path& file);

// --- what they have for it ---

// use() for an input in memory; false where it was refused.
bool run(const std::string& input);

// Ends the process with a message unless `holds`.
inline void require(bool holds, const char* claim) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: it does not hold that %s\n", claim);
  std::abort();
}

inline size_t below(Random& random, size_t n) { return size_t(random() % n); }
inline bool one_in(Random& random, size_t n) { return below(random, n) == 0; }
template <class Container>
auto& pick(Random& random, Container& from) {
  return *(std::begin(from) + std::ptrdiff_t(below(random, std::size(from))));
}

}  // namespace mininn::fuzz
