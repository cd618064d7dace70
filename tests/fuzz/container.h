// safetensors files (nn/serialize.h) as mutations see them.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace mininn::fuzz {

struct Container {
  struct Entry {
    std::string name;
    nlohmann::json dtype, shape;
    std::string bytes;
  };
  std::map<std::string, std::string> metadata;
  std::vector<Entry> tensors;

  // No value for what is no such file.
  static std::optional<Container> parse(const std::string& file);
  // With offsets that fit, and the sum that an int8 file must carry if it has one.
  std::string file() const;
};

// Mutates what the file describes, so that it stays a whole container: metadata that are JSON, tensors' shapes, dtypes,
// names and elements, a number wherever it occurs. Sometimes the header or the bytes as they are.
std::string mutate_container(std::string file, Random& random);

// The bytes that a function writes to the file it is given.
std::string written(const std::function<void(const std::filesystem::path&)>& write);

}  // namespace mininn::fuzz
