// Which tables there are, and what holds for every kernel in them.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "tests/support/catch.h"

namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

TEST_CASE("every kernel table has a parity test and is on the list of all", "[lint]") {
  const fs::path root = MININN_SOURCE_DIR;
  std::string tests;
  for (const char* folder : {"tests/ops", "tests/cpu_kernels"})
    for (const auto& entry : fs::directory_iterator(root / folder))
      if (entry.path().extension() == ".cpp") tests += text_of(entry.path());

  // An argument struct names its op first thing.
  const std::regex definition(R"(struct (\w+) \{[^\n]*\n\s*static constexpr (?:std::string_view|auto) op = )");
  const std::string listed = text_of(root / "tests/support/kernel_args.h");
  std::set<std::string> found;
  std::vector<fs::path> headers{root / "core/memory_ops.h"};
  for (const auto& entry : fs::directory_iterator(root / "ops"))
    if (entry.path().extension() == ".h") headers.push_back(entry.path());
  for (const fs::path& header : headers) {
    const std::string text = text_of(header);
    for (std::sregex_iterator m(text.begin(), text.end(), definition), end; m != end; ++m) {
      const std::string args = (*m)[1];
      found.insert(args);
      INFO(header.filename() << ": op::" << args);
      CHECK(std::regex_search(tests, std::regex("for_each_kernel<op::" + args + R"((<F>)?>)")));
      CHECK(std::regex_search(listed, std::regex("[ <]op::" + args + R"((<F>)?[,>])")));
    }
  }
  CHECK(found.size() >= 41);
}

}  // namespace
