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
#include <vector>

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

// An option whose value is a list with commas or spaces between its items; `check` is asked about each. CLI11's own
// lists pass over items that are empty.
template <class T>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<T>& values, const std::string& help,
                      const CLI::Validator& check) {
  const auto items = [](const std::string& text) {
    std::vector<std::string> out(1);
    for (const char c : text)
      if (c == ',')
        out.emplace_back();
      else
        out.back() += c;
    return out;
  };
  const auto each_is_good = [=](std::string& text) {
    for (const std::string& item : items(text))
      if (const std::string wrong = check(item); !wrong.empty()) return wrong;
    return std::string();
  };
  const auto take = [&values, items](const std::vector<std::string>& texts) {
    values.clear();
    for (const std::string& text : texts)
      for (const std::string& item : items(text)) CLI::detail::lexical_cast(item, values.emplace_back());
  };
  std::ostringstream defaults;
  for (const T& v : values) defaults << (&v == values.data() ? "" : ",") << v;
  return app.add_option_function<std::vector<std::string>>(name, take, help)
      ->check(CLI::Validator(each_is_good, check.get_description()))
      ->default_str(defaults.str());
}

inline constexpr int64_t kMostImages = 1'000'000'000, kMostBatch = 65536, kMostThreads = 1024;

// What is wrong, in words that name what was typed, with a space at the end.
inline std::string sentence(const CLI::App& app, const CLI::ParseError& e) {
  std::string text;
  std::istringstream words(e.what());  // what was typed may be among them, however long
  for (std::string word; words >> word;) text += mininn::excerpt(word) + ' ';
  const std::string option = text.substr(0, text.find(':'));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&e))
    return option + (text.find(" received ") == text.npos ? ": the value is missing " : ": is given more than once ");
  if (dynamic_cast<const CLI::ExtrasError*>(&e) || dynamic_cast<const CLI::RequiredError*>(&e))
    if (const auto unknown = app.remaining(true); !unknown.empty()) {
      text = "nothing is called";
      for (const std::string& word : unknown) text += " '" + mininn::excerpt(word) + "'";
      text += ' ';
    }
  return text;
}

// The status to end with, if that is all: help was asked for and is printed, or something is wrong and is said.
inline std::optional<int> parse(CLI::App& app, const char* program, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return {};
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::fprintf(stderr, "%s: %s(see --help)\n", program, mininn::Error(sentence(app, e)).what());
    return e.get_exit_code();
  }
}

}  // namespace cifar_resnet
