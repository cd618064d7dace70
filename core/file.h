// Files by means of C's library: a program that is linked statically then has no streams in it, which take 350 KB.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace mininn {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Null if it cannot be opened. `mode` is that of fopen().
inline File open_file(const std::filesystem::path& path, const char* mode) {
  return File(std::fopen(path.c_str(), mode));
}

// All that can be read of a file: nothing, if it cannot be opened.
inline std::string read_file(const std::filesystem::path& path) {
  std::string bytes;
  if (const File in = open_file(path, "rb")) {
    char part[4096];
    for (size_t n; (n = std::fread(part, 1, sizeof part, in.get())) > 0;) bytes.append(part, n);
  }
  return bytes;
}

}  // namespace mininn
