// CIFAR-10 (Krizhevsky 2009) in its official binary version: five training files and one test file of 10,000 records,
// each one label byte and 3072 pixel bytes (1024 red, 1024 green, 1024 blue, row by row).
#pragma once

#include <filesystem>
#include <optional>

#include "data/dataset.h"

namespace mininn::data {

// The folder that holds data_batch_1.bin. `given` (or its subfolder cifar-10-batches-bin) is the only place looked at
// if there is one: FileError if the files are not there. Else the first of data/cifar-10-batches-bin, $CIFAR10_DIR and
// ../shared/data/cifar-10-batches-bin that has them; nothing if none does.
std::optional<std::filesystem::path> find_cifar10(const std::optional<std::filesystem::path>& given = {});

// 50,000 training or 10,000 test images. Throws FileError naming the file (and the byte) if a file is missing, cannot
// be read, is not exactly 30,730,000 bytes long, or has a label above 9.
Dataset load_cifar10(const std::filesystem::path& dir, Split split);

// Compares all six files with the published SHA-256 sums. Throws FileError naming the first that differs.
void verify_cifar10(const std::filesystem::path& dir);

}  // namespace mininn::data
