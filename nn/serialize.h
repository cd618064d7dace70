// Tensors in files: the safetensors format (https://github.com/huggingface/safetensors).
//
//   8 bytes   header size n, little-endian
//   n bytes   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
//                    "__metadata__": {"key": "text", ...}}, padded with spaces to a multiple of 8
//   the rest  the elements, little-endian, row-major; offsets count from here, without gaps or overlaps
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "nn/scope.h"

namespace mininn::nn {

// Whether a JSON text has brackets nested deeper than `depth`: asked before it is parsed, since a parser's stack grows
// with them.
bool nested_deeper(std::string_view json, int depth);

// A tensor as files and the host's loops take it: on the CPU and row-major, without history. No copy if it lies so.
Tensor stored(const Tensor& t);

// The content of one file. Tensors are on the CPU and contiguous after read(), in the order of their bytes.
struct SafeTensors {
  std::map<std::string, std::string> metadata;
  std::vector<std::pair<std::string, Tensor>> tensors;

  // The file is untrusted: everything in its header is checked before it is used. Throws FileError naming the file and
  // the byte or tensor.
  static SafeTensors read(const std::filesystem::path& path);

  // Equal content gives equal bytes, whatever the order in `tensors`. The file appears whole or not at all: the bytes
  // go to a temporary file beside it, which is then renamed; after a failure (full disk, no permission) an old file is
  // untouched. Links are followed, and a device or a FIFO is written to. Throws FileError, also for a duplicate name.
  void write(const std::filesystem::path& path) const;

  // The tensor called `name`; undefined if there is none.
  Tensor find(std::string_view name) const;
  // Moves out every tensor whose name begins with `prefix`, without the prefix: how a checkpoint keeps an optimizer's
  // state beside a network's.
  std::vector<std::pair<std::string, Tensor>> extract(std::string_view prefix);
};

struct LoadOptions {
  bool strict = true;  // false: tensors that are missing in the file or unknown to the network are passed over
};

struct SaveOptions {
  DType weights = DType::f32;  // of f32 parameters with two or more dimensions: f32, or bf16, which rounds them
};

// Parameters and buffers by their paths. Throws FileError; DTypeError for other options.
void save_safetensors(const std::filesystem::path& path, const ParamStore& params,
                      std::map<std::string, std::string> metadata = {}, const SaveOptions& o = {});
// Overwrites `params` with the file's tensors; floating dtypes are converted. Throws FileError naming what is missing,
// unexpected or of another shape (the first few); then `params` is unchanged.
void load_safetensors(const std::filesystem::path& path, ParamStore& params, const LoadOptions& o = {});
// The same from a file already read; `source` is its name in messages.
void load_parameters(const SafeTensors& file, ParamStore& params, const LoadOptions& o = {},
                     std::string_view source = "checkpoint");
// For a ParamStore whose values are a file's: building a network takes no more than the file holds, because every
// tensor is compared with what the network asks for before that is made. Asking throws FileError for a tensor that is
// missing or of another shape; `source` is the file's name there. load_parameters() then finds what is left over.
ParamStore::Source values_of(const SafeTensors& file, std::string source);

}  // namespace mininn::nn
