// Reads every source file of the repository and checks three rules:
//  - who may include whom: the table below, the only place where that is written as code;
//  - no file names a path of somebody's machine;
//  - no line of code is longer than 120 characters (clang-format leaves comments as they are).
// Prints each breach as file:line and exits with 1 if there is one.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

// A row holds for the files whose path begins with `files`; the longest match counts. The C++ standard library is
// always allowed. `folders` are the project's own folders, `others` the beginnings of other headers.
struct Row {
  std::string_view files;
  std::vector<std::string_view> folders;
  std::vector<std::string_view> others;
};

const std::vector<Row> kTable = {
    {"core/", {"core"}, {}},
    {"core/file.cpp", {"core"}, {"fcntl.h", "sys/file.h", "sys/stat.h", "unistd.h"}},
    {"core/allocator.cpp", {"core"}, {"pthread.h", "sanitizer/"}},
    {"core/parallel.cpp", {"core"}, {"omp.h", "pthread.h"}},
    {"ops/", {"core", "ops"}, {}},
    {"nn/", {"core", "ops", "nn"}, {}},
    {"nn/serialize.cpp", {"core", "ops", "nn"}, {"nlohmann/"}},
    {"nn/graph/", {"core", "ops", "nn"}, {"nlohmann/"}},
    {"nn/graph/onnx/", {"core", "ops", "nn"}, {"nlohmann/", "google/protobuf/", "onnx"}},
    {"quant/", {"core", "ops", "nn", "quant"}, {}},
    {"quant/int8_file.cpp", {"core", "ops", "nn", "quant"}, {"nlohmann/"}},
    {"quant/tuner.cpp", {"core", "ops", "nn", "quant"}, {"sys/resource.h"}},
    {"data/", {"core", "data"}, {}},
    {"data/loader.cpp", {"core", "data"}, {"unistd.h"}},
    {"cpu_kernels/", {"core", "ops", "cpu_kernels"}, {}},
    {"cpu_kernels/common/", {"core", "ops", "cpu_kernels"}, {"immintrin.h", "cpuid.h"}},
    {"cpu_kernels/own/", {"core", "ops", "cpu_kernels"}, {"immintrin.h", "sys/syscall.h", "unistd.h"}},
    {"cpu_kernels/onednn/", {"core", "ops", "cpu_kernels"}, {"oneapi/dnnl/"}},
    {"cpu_kernels/eigen/", {"core", "ops", "cpu_kernels"}, {"Eigen/"}},
    {"cpu_kernels/mpi/", {"core", "ops", "cpu_kernels"}, {"mpi.h"}},
    {"cuda/", {"core", "ops", "cuda"}, {"cuda", "vector_types.h", "mma.h"}},
    {"cuda/cublas/", {"core", "ops", "cuda"}, {"cuda", "cublas"}},
    {"cuda/cudnn/", {"core", "ops", "cuda"}, {"cuda", "cudnn"}},
    {"cuda/nccl/", {"core", "ops", "cuda"}, {"cuda", "nccl.h"}},
    {"examples/", {"core", "ops", "nn", "quant", "data", "examples"}, {"nlohmann/"}},
    {"examples/cifar_resnet/main.cpp", {"core", "ops", "nn", "quant", "data", "examples"}, {"CLI/"}},
    {"examples/cifar_resnet/command_line.h", {"core"}, {"CLI/"}},
    {"examples/cifar_resnet/outputs.h", {"core"}, {}},
    {"examples/cifar_resnet/serve.cpp", {"core", "ops", "nn", "quant", "data", "examples"}, {"nlohmann/", "httplib.h"}},
    {"examples/cifar_resnet/canvas.", {"core", "examples"}, {"cairo.h", "stb/"}},
    {"examples/cifar_resnet/figures.", {"core", "examples"}, {}},
    {"examples/cifar_resnet/progress.", {"core", "examples"}, {"sys/ioctl.h", "unistd.h"}},
    {"examples/int8_infer/", {"core", "quant", "examples"}, {"stb/"}},
    {"examples/cifar_resnet/timing.", {"core", "examples"}, {"sys/resource.h"}},
    {"examples/consumer/", {}, {"mininn/"}},
    {"python/", {"core", "ops", "nn", "quant", "data"}, {"pybind11/"}},
    {"tests/",
     {"core", "ops", "nn", "quant", "data", "cpu_kernels", "cuda", "examples", "tests"},
     {"catch2/", "Eigen/", "nlohmann/", "sanitizer/", "sys/", "elf.h", "fcntl.h", "unistd.h", "omp.h", "cuda"}},
    {"bench/",
     {"core", "ops", "nn", "quant", "data", "cpu_kernels", "cuda", "examples", "bench"},
     {"CLI/", "nlohmann/", "sys/", "unistd.h", "omp.h", "cuda", "oneapi/", "Eigen/"}},
};

// What a fresh clone does not have.
const std::vector<std::string_view> kIgnored = {".git", "third_party", "cifar-10-batches-bin", "__pycache__", ".venv"};

// Paths of somebody's machine; scratch folders are only named to readers. The brackets keep these lines from matching
// themselves.
const std::regex kOutside{R"((^|[^\w.])(/[w]ork|/[h]ome|/[r]oot)/[\w.]|\.\./[s]hared/(?!data))"};
const std::regex kScratch{R"(/[t]mp/[\w.])"};

constexpr int64_t kMostColumns = 120;

// Characters of UTF-8.
int64_t columns(std::string_view line) {
  return std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

const Row* row_of(std::string_view file) {
  const Row* best = nullptr;
  for (const Row& row : kTable)
    if (file.starts_with(row.files) && (!best || row.files.size() > best->files.size())) best = &row;
  return best;
}

// Why a file may not include a header; empty if it may.
std::string refusal(std::string_view file, std::string_view header, bool quoted) {
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

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); });
}

class Lint {
 public:
  explicit Lint(fs::path root) : root_(std::move(root)) {}

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
    const bool prose = ends_with_any(file, {".md", ".ipynb"});  // may tell the reader to use a scratch folder
    std::ifstream in(path);
    std::string line;
    ++files_;
    for (int number = 1; std::getline(in, line); ++number) {
      std::smatch m;
      if (source && std::regex_search(line, m, include_)) {
        ++includes_;
        const std::string why = refusal(file, m[2].str(), m[1] == "\"");
        if (!why.empty()) breach(file, number, "includes " + m[2].str() + ": " + why);
      }
      if (source && columns(line) > kMostColumns) breach(file, number, "is longer than 120 characters");
      if (std::regex_search(line, m, kOutside) || (!prose && std::regex_search(line, m, kScratch)))
        breach(file, number, "names " + m[0].str() + ", a path of one machine");
    }
  }

  void breach(const std::string& file, int line, const std::string& what) {
    ++breaches_;
    std::cout << file << ':' << line << ": " << what << '\n';
  }

  fs::path root_;
  const std::regex include_{R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re"};
  int files_ = 0, includes_ = 0, breaches_ = 0;
};

// The rules must be able to fail.
int self_test() {
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
      {"data/loader.cpp", "ops/cast.h", true, false},
      {"quant/int8_net.cpp", "cuda/context.h", true, false},
      {"cpu_kernels/ref/x.cpp", "immintrin.h", false, false},
      {"newfolder/x.cpp", "core/tensor.h", true, false},
      {"tests/ops/x.cpp", "cpu_kernels/ref/x.h", true, true},
  };
  for (const Case& c : cases)
    if (refusal(c.file, c.header, c.quoted).empty() != c.allowed) {
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
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: lint_tree REPOSITORY\n";
    return 2;
  }
  return self_test() ? 1 : Lint(argv[1]).run();
}
