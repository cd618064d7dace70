// Reads every source file of the repository and checks these rules:
//  - who may include whom: the table of docs/design.md, which is written nowhere else;
//  - no file names a path of somebody's machine;
//  - no line of code is longer than 120 characters (clang-format leaves comments as they are);
//  - no file is longer than 500 lines, no function (a test case is one) longer than 80.
// Prints each breach as file:line and exits with 1 if there is one.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

// Files whose path begins with `files` may include the project's own `folders` and headers that begin as in `others`.
struct Row {
  std::string files;
  std::vector<std::string> folders, others;
};

// Words between commas, without the quotes of Markdown.
std::vector<std::string> words(std::string cell) {
  std::erase(cell, '`');
  std::replace(cell.begin(), cell.end(), ',', ' ');
  std::istringstream in(cell);
  return {std::istream_iterator<std::string>(in), {}};
}

class IncludeTable {
 public:
  // Its lines are | files | folders | other headers |, below a head that says so and a rule.
  explicit IncludeTable(std::istream& document) {
    std::string line;
    while (std::getline(document, line) && !line.starts_with("| files |")) continue;
    std::getline(document, line);
    while (std::getline(document, line) && line.starts_with("|")) {
      std::istringstream in(line.substr(1));
      std::string files, folders, others;
      std::getline(std::getline(std::getline(in, files, '|'), folders, '|'), others, '|');
      if (!in || words(files).empty()) throw std::runtime_error("no row of an include table: " + line);
      for (const std::string& each : words(files)) rows_.push_back({each, words(folders), words(others)});
    }
    if (rows_.empty()) throw std::runtime_error("there is no include table: no line begins with | files |");
  }

  // Why a file may not include a header; empty if it may. The row of the longest match counts. The C++ standard
  // library is always allowed.
  std::string refusal(std::string_view file, std::string_view header, bool quoted) const {
    const Row* row = row_of(file);
    if (!row) return "no row of the include table covers this file";
    const auto begins = [&](std::string_view with) { return header.starts_with(with); };
    if (quoted) {
      const size_t slash = header.find('/');
      if (slash == header.npos || begins(".")) return "write the path from the repository's root";
      const bool allowed =
          std::find(row->folders.begin(), row->folders.end(), header.substr(0, slash)) != row->folders.end();
      return allowed ? "" : "this folder may not include " + std::string(header.substr(0, slash)) + "/";
    }
    if (header.find_first_of("./") == header.npos) return "";  // <vector>
    return std::any_of(row->others.begin(), row->others.end(), begins) ? "" : "this header is not allowed here";
  }

 private:
  const Row* row_of(std::string_view file) const {
    const Row* best = nullptr;
    for (const Row& row : rows_)
      if (file.starts_with(row.files) && (!best || row.files.size() > best->files.size())) best = &row;
    return best;
  }

  std::vector<Row> rows_;
};

// What a fresh clone does not have.
const std::vector<std::string_view> kIgnored = {".git",        "third_party", "cifar-10-batches-bin",
                                                "__pycache__", ".venv",       ".gpu"};

// Paths of somebody's machine; scratch folders are only named to readers. The brackets keep these lines from matching
// themselves.
const std::regex kOutside{R"((^|[^\w.])(/[w]ork|/[h]ome|/[r]oot)/[\w.]|\.\./[s]hared/(?!data))"};
const std::regex kScratch{R"(/[t]mp/[\w.])"};

constexpr int64_t kMostColumns = 120, kMostLines = 500, kMostLinesOfFunction = 80;

// Characters of UTF-8.
int64_t columns(std::string_view line) {
  return std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

struct Block {
  int64_t first, last;  // lines, from 1
  int64_t lines() const { return last - first + 1; }
};

// The functions among some lines, and the loops in them, which are never longer. In what clang-format leaves, each ends
// in a line that has only a brace, at the indentation of its first line. Classes, arrays and lambdas with a name end in
// "};", namespaces in a comment.
std::vector<Block> functions(const std::vector<std::string>& lines) {
  std::vector<Block> found;
  for (size_t last = 0; last < lines.size(); ++last) {
    const size_t indentation = lines[last].find_first_not_of(' ');
    if (indentation == std::string::npos || lines[last].substr(indentation) != "}") continue;
    const auto begins = [&](const std::string& line) {
      return line.find_first_not_of(' ') == indentation && line[indentation] != '#';
    };
    size_t first = last;
    while (first > 0 && !begins(lines[first - 1])) --first;
    found.push_back({int64_t(first), int64_t(last) + 1});
  }
  return found;
}

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); });
}

class Lint {
 public:
  Lint(fs::path root, const IncludeTable& table) : root_(std::move(root)), table_(table) {}

  int run() {
    for (auto it = fs::recursive_directory_iterator(root_); it != fs::recursive_directory_iterator(); ++it) {
      const std::string name = it->path().filename().string();
      const bool top = it.depth() == 0;
      const bool ignored = std::find(kIgnored.begin(), kIgnored.end(), name) != kIgnored.end() ||
                           (top && (name.starts_with("build") || name.starts_with("results")));
      if (it->is_directory()) {
        if (ignored) it.disable_recursion_pending();
      } else if (!ignored && it->is_regular_file() && !ends_with_any(name, {".bin", ".png", ".pyc", ".safetensors"})) {
        check(it->path());
      }
    }
    std::cout << files_ << " files, " << includes_ << " includes, " << breaches_ << " breaches\n";
    return breaches_ == 0 && includes_ > 0 ? 0 : 1;
  }

 private:
  void check(const fs::path& path) {
    const std::string file = fs::relative(path, root_).generic_string();
    const bool source = ends_with_any(file, {".h", ".cpp", ".inl", ".cu", ".cuh"});
    const bool script = ends_with_any(file, {".sh", ".py", ".cmake", "CMakeLists.txt"}) || file.starts_with("scripts/");
    const bool prose = ends_with_any(file, {".md", ".ipynb"});  // may tell the reader to use a scratch folder
    std::ifstream in(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    ++files_;
    for (size_t i = 0; i < lines.size(); ++i) {
      const std::string& line = lines[i];
      std::smatch m;
      if (source) check_code(file, int64_t(i) + 1, line);
      if (std::regex_search(line, m, kOutside) || (!prose && std::regex_search(line, m, kScratch)))
        breach(file, int64_t(i) + 1, "names " + m[0].str() + ", a path of one machine");
    }
    if (source || script) check_length(file, int64_t(lines.size()));
    if (!source) return;
    for (const Block& f : functions(lines))
      if (f.lines() > kMostLinesOfFunction) too_long(file, f.first, f.lines(), kMostLinesOfFunction);
  }

  void check_code(const std::string& file, int64_t number, const std::string& line) {
    std::smatch m;
    if (std::regex_search(line, m, include_)) {
      ++includes_;
      const std::string why = table_.refusal(file, m[2].str(), m[1] == "\"");
      if (!why.empty()) breach(file, number, "includes " + m[2].str() + ": " + why);
    }
    if (columns(line) > kMostColumns) breach(file, number, "is longer than 120 characters");
  }

  void check_length(const std::string& file, int64_t lines) {
    if (lines > kMostLines) too_long(file, 1, lines, kMostLines);
  }

  void too_long(const std::string& file, int64_t line, int64_t lines, int64_t most) {
    breach(file, line, std::to_string(lines) + " lines, at most " + std::to_string(most) + " are allowed");
  }

  void breach(const std::string& file, int64_t line, const std::string& what) {
    ++breaches_;
    std::cout << file << ':' << line << ": " << what << '\n';
  }

  fs::path root_;
  const IncludeTable& table_;
  const std::regex include_{R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re"};
  int files_ = 0, includes_ = 0, breaches_ = 0;
};

// The rules must be able to fail.
int self_test(const IncludeTable& table) {
  struct Case {
    const char *file, *header;
    bool quoted, allowed;
  };
  const Case cases[] = {
      {"core/tensor.h", "core/shape.h", true, true},
      {"core/tensor.h", "ops/conv2d.h", true, false},
      {"core/tensor.h", "shape.h", true, false},
      {"core/tensor.h", "vector", false, true},
      {"core/tensor.h", "omp.h", false, false},
      {"core/parallel.cpp", "omp.h", false, true},
      {"ops/conv2d.cpp", "cpu_kernels/ref/x.h", true, false},
      {"nn/linear.cpp", "nlohmann/json.hpp", false, false},
      {"nn/serialize.cpp", "nlohmann/json.hpp", false, true},
      {"data/loader.cpp", "nn/linear.h", true, false},
      {"quant/int8_net.cpp", "cuda/context.h", true, false},
      {"cpu_kernels/ref/x.cpp", "immintrin.h", false, false},
      {"newfolder/x.cpp", "core/tensor.h", true, false},
      {"tests/ops/x.cpp", "cpu_kernels/ref/x.h", true, true},
  };
  for (const Case& c : cases)
    if (table.refusal(c.file, c.header, c.quoted).empty() != c.allowed) {
      std::cout << "self-test: " << c.file << " including " << c.header << " must be "
                << (c.allowed ? "allowed" : "refused") << '\n';
      return 1;
    }
  const std::string root = "/", up = "../";  // put together here, so that this file passes
  for (const std::string& path : {" " + root + "work/main", "\"" + root + "home/me", up + "shared/design"})
    if (!std::regex_search(path, kOutside)) return std::cout << "self-test: " << path << " must be refused\n", 1;
  for (const std::string& path : {"a/" + root + "work", up + "shared/data/x"})
    if (std::regex_search(path, kOutside)) return std::cout << "self-test: " << path << " must be allowed\n", 1;
  if (columns(std::string(121, 'x')) <= kMostColumns || columns("é") != 1)
    return std::cout << "self-test: 121 characters must be refused\n", 1;
  std::vector<std::string> lines{"namespace n {", "struct S {", "  S()", "      : a() {", "#if A", "    if (a) {"};
  lines.insert(lines.end(), {"      a();", "    }", "#endif", "  }", "  int a;", "};", "}  // namespace n"});
  const std::vector<Block> found = functions(lines);
  if (found.size() != 2 || found[0].lines() != 3 || found[1].first != 3 || found[1].lines() != 8)
    return std::cout << "self-test: a constructor of 8 lines must be found at line 3\n", 1;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: lint_tree REPOSITORY\n";
    return 2;
  }
  try {
    std::ifstream design(fs::path(argv[1]) / "docs/design.md");
    const IncludeTable table(design);
    return self_test(table) ? 1 : Lint(argv[1], table).run();
  } catch (const std::runtime_error& e) {
    std::cout << "docs/design.md: " << e.what() << '\n';
    return 1;
  }
}
