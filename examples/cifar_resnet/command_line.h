// Command lines: checks of options, and one sentence about what is wrong. For every program that has one.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>

#include "core/error.h"

namespace cifar_resnet {

// A number in [least, most]. CLI::Range does not do: NaN passes it, and of the text only the converted number reaches
// it, so that -1 is the largest seed, and what is too large is the largest number.
inline CLI::Validator between(double least, double most) {
  const std::string range = mininn::message("in [", least, " - ", most, ']');
  return CLI::Validator(
      [=](std::string& text) {
        // Decimal only: what CLI11 converts it with takes 010 for 8.
        const bool octal = text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
        const bool decimal = text.find_first_not_of("0123456789+-.eE") == text.npos && !octal;
        char* end = nullptr;
        const double v = std::strtod(text.c_str(), &end);
        const bool good = decimal && v >= least && v <= most && *end == '\0';
        return good ? std::string() : mininn::message('\'', mininn::excerpt(text), "' is no number ", range);
      },
      range);
}

// The same for options that count: 1.5 and 1e3 are no such numbers.
inline CLI::Validator whole(uint64_t least, uint64_t most) {
  const std::string range = mininn::message("in [", least, " - ", most, ']');
  return CLI::Validator(
      [=](std::string& text) {
        uint64_t v = 0;
        const char* const last = text.data() + text.size();
        const auto [end, error] = std::from_chars(text.data(), last, v);
        const bool octal = text.size() > 1 && text[0] == '0';  // to CLI11
        const bool good = error == std::errc() && end == last && !octal && v >= least && v <= most;
        return good ? std::string() : mininn::message('\'', mininn::excerpt(text), "' is no whole number ", range);
      },
      range);
}

// A path: programs take an empty one for an option that was not given.
inline CLI::Validator path() {
  constexpr size_t kMost = 4096;  // bytes that Linux takes
  return CLI::Validator(
      [=](std::string& text) {
        return std::string(text.empty() ? "the path is empty" : text.size() >= kMost ? "the path is too long" : "");
      },
      "PATH");
}

inline constexpr int64_t kMostImages = 1'000'000'000, kMostBatch = 65536, kMostThreads = 1024;

// The status to end with, if that is all: help was asked for and is printed, or something is wrong and is said.
inline std::optional<int> parse(CLI::App& app, const char* program, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::string text;
    std::istringstream words(e.what());  // what was typed may be among them, however long
    for (std::string word; words >> word;) text += mininn::excerpt(word) + ' ';
    std::fprintf(stderr, "%s: %s(see --help)\n", program, mininn::Error(text).what());
    return e.get_exit_code();
  }
}

}  // namespace cifar_resnet
