// What is written must not replace what is read. For every program that writes files.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace cifar_resnet {

struct NamedFile {
  std::string name;  // the option, for messages
  std::filesystem::path path;
};

inline NamedFile file_of_out(const std::filesystem::path& out, const std::string& name) {
  return {name + " of --out", out / name};
}

// Where a path leads, through links, whether anything is there yet or not.
inline std::filesystem::path destination(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path end = mininn::without_links(path), there = fs::weakly_canonical(fs::absolute(end, error), error);
  return error ? end.lexically_normal() : there;
}

// Devices and pipes keep nothing that could be lost.
inline bool same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code error;
  if (std::filesystem::exists(a, error) && std::filesystem::exists(b, error))
    return std::filesystem::is_regular_file(a, error) && std::filesystem::equivalent(a, b, error);
  return destination(a) == destination(b);
}

// Empty paths are options that were not given. Throws ValueError if a file that is written is also read, or written
// under another name.
inline void require_distinct(const std::vector<NamedFile>& written, std::vector<NamedFile> others) {
  for (const NamedFile& file : written) {
    for (const NamedFile& other : others)
      if (!file.path.empty() && !other.path.empty() && same_file(file.path, other.path))
        throw mininn::ValueError(
            mininn::message(other.name, " and ", file.name, " are the same file: ", file.path.string()));
    others.push_back(file);
  }
}

}  // namespace cifar_resnet
