// A locale that writes 1.5 as 1,5.
#pragma once

#include <clocale>
#include <cstdlib>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/files.h"

namespace mininn::testing {

// While it lives, numbers have a comma in this process, if the machine has such a locale or can make one (localedef).
class CommaLocale {
 public:
  CommaLocale() {
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"})
      if (set(name)) return;
    write_file(folder_ / "source",
               "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n");
    const std::string path = folder_.path.string();
    // It complains about the categories that are missing.
    if (std::system(("localedef -c -i " + path + "/source -f UTF-8 " + path + "/comma > /dev/null 2>&1").c_str()) == -1)
      return;
    ::setenv("LOCPATH", path.c_str(), 1);
    if (!set("comma")) WARN("this machine has no locale with a comma, and localedef makes none");
    ::unsetenv("LOCPATH");
  }
  ~CommaLocale() { std::setlocale(LC_NUMERIC, "C"); }
  CommaLocale(const CommaLocale&) = delete;
  CommaLocale& operator=(const CommaLocale&) = delete;

  // False: there is none.
  explicit operator bool() const { return std::string(std::localeconv()->decimal_point) == ","; }

 private:
  bool set(const char* name) { return std::setlocale(LC_NUMERIC, name) && *this; }

  TempFolder folder_;
};

}  // namespace mininn::testing
