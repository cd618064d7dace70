// A check of an option's number, for every program with a command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdlib>

#include "core/error.h"

namespace cifar_resnet {

// A number in [least, most]. CLI::Range does not do: NaN passes it, and of the text only the converted number reaches
// it, so that -1 is the largest seed, and what is too large is the largest number.
inline CLI::Validator between(long double least, long double most) {
  const std::string range = mininn::message("in [", least, " - ", most, ']');
  return CLI::Validator(
      [=](std::string& text) {
        // Decimal only: what CLI11 converts it with takes 010 for 8.
        const bool octal = text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
        const bool decimal = text.find_first_not_of("0123456789+-.eE") == text.npos && !octal;
        char* end = nullptr;
        const long double v = std::strtold(text.c_str(), &end);
        return decimal && v >= least && v <= most && *end == '\0' ? std::string() : text + " is no number " + range;
      },
      range);
}

inline constexpr int64_t kMostImages = 1'000'000'000, kMostBatch = 65536, kMostThreads = 1024;

}  // namespace cifar_resnet
