// Graphs in files: a safetensors container (nn/serialize.h), whatever the graph's ops: float, on codes, or both.
//
//   tensors    the graph's constants, by name
//   metadata   "format" = "mininn.graph", "format_version" = "1"
//              "graph" = JSON: {"inputs": [{"name", "dtype", "shape"}, ...], "constants": ["conv1.weight", ...],
//                               "nodes": [{"op", "name", "inputs", "attrs"}, ...], "outputs": [...]}
//              "sha256": content_hash()
//
// Values are numbers: the inputs first, then the constants, then the nodes' results in their order; -1 is an absent
// one. Only inputs are described: what the nodes make of them, the ops say.
#pragma once

#include <filesystem>
#include <string>

#include "nn/graph/graph.h"
#include "nn/serialize.h"

namespace mininn::nn::graph {

// Throws FileError, before it touches any file, for a graph that breaks a rule, constants that are codes, names that
// are no UTF-8 text, options that are not finite, and descriptions beyond 4 MiB.
void save_graph(const std::filesystem::path& path, const Graph& g);

// The values of the graph that was saved are numbered as in the file; it computes the same. The file is untrusted:
// every op is asked what it makes of its inputs. How much work a graph is, its reader has to see to. Throws FileError
// naming the file and the item, also for an op that this program does not have.
Graph load_graph(const std::filesystem::path& path);

// For files that hold more than a graph (quant/int8_file.h): adds the graph's part to `file`, or reads it. Both throw
// Errors that say what is wrong, not where.
void put_graph(SafeTensors& file, const Graph& g);
Graph get_graph(const SafeTensors& file);

// The text in a file's metadata; empty if there is none.
const std::string& metadata_text(const SafeTensors& file, const char* key);

// The "sha256" that a network's file must carry: of the texts that describe it and of each tensor's name and bytes.
std::string content_hash(const SafeTensors& file);

// Adds what check_format() asks for; the content is complete.
void seal(SafeTensors& file, std::string format, std::string version);

// Throws FileError naming the file unless its metadata say that it is `format`, in one of the `versions`, and carry the
// hash of its content. `what` names such a file. Returns the version.
std::string check_format(const SafeTensors& file, const std::filesystem::path& path, const char* what,
                         std::string_view format, std::initializer_list<std::string_view> versions);

}  // namespace mininn::nn::graph
