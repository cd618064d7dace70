// Int8 networks in files: a graph's file (nn/graph/graph_file.h) and what else there is to know.
//
//   metadata   "format" = "mininn.int8", "format_version" = "2"
//              "graph" = JSON of the graph
//              "network" = JSON: normalization, graph_macs, calibration, and a note on each node
//              "sha256" of both texts and of every tensor's name and bytes
//
// Files of version 1, which held a list of steps instead of a graph, load as what they are: the same bits come out.
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

}  // namespace mininn::quant
