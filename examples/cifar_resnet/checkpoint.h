// The state of a training run on disk: everything the next step depends on, so that a resumed run ends with the same
// bits as one that was never interrupted.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "nn/optim/optimizer.h"
#include "nn/scope.h"

namespace cifar_resnet {

struct Position {
  int64_t epoch = 0;  // finished epochs
  int64_t batch = 0;  // finished batches of the next one
};

// `run` is what the caller wants back: options, history. Written whole or not at all. Throws FileError.
void save_checkpoint(const std::filesystem::path& file, const mininn::nn::ParamStore& params,
                     const mininn::optim::Optimizer& optimizer, const Position& position, const nlohmann::json& run);

struct Restored {
  Position position;
  nlohmann::json run;
};
// Throws FileError if the file is missing, damaged or of another network; then nothing changes.
Restored load_checkpoint(const std::filesystem::path& file, mininn::nn::ParamStore& params,
                         mininn::optim::Optimizer& optimizer);

// Only what was handed to save_checkpoint as `run`.
nlohmann::json peek_checkpoint(const std::filesystem::path& file);

}  // namespace cifar_resnet
