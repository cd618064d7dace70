// Int8 networks in files: a safetensors container (nn/serialize.h).
//
//   tensors    <step>.weight s8, <step>.weight_scale f32, <step>.bias i32, <step>.table u8
//   metadata   "format" = "mininn.int8", "format_version" = "1"
//              "network" = JSON: values, steps, input, output, normalisation, calibration; a step of a kind that the
//              reader does not know is an error
//              "sha256" of the network JSON and of every tensor's name and bytes
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "nn/serialize.h"
#include "quant/int8_model.h"

namespace mininn::quant {

// What it writes, load_int8() gives back. Throws FileError, before it touches any file, for a model that does not
// validate and for a description (names and notes) beyond the limit.
void save_int8(const std::filesystem::path& path, const Int8Model& model);

// The file is untrusted: sizes, references, ranges, codes and the hash are checked before anything is used, and the
// work that it describes is limited (docs/int8.md). Throws FileError naming the file and the item.
Int8Model load_int8(const std::filesystem::path& path);

// True for a safetensors file that save_int8 wrote (by its metadata). Throws FileError if it is no safetensors file.
bool is_int8(const nn::SafeTensors& file);
bool is_int8_file(const std::filesystem::path& path);

// What an int8 file consists of: every tensor and the header. The sizes add up to the file's.
struct FileItem {
  std::string name;
  int64_t bytes = 0;
};
std::vector<FileItem> int8_file_items(const std::filesystem::path& path);

// The "sha256" a container must carry.
std::string int8_content_hash(const nn::SafeTensors& file);

}  // namespace mininn::quant
