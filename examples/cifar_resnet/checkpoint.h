// The state of a training run on disk: everything the next step depends on, so that a resumed run ends with the same
// bits as one that was never interrupted.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/random.h"
#include "examples/cifar_resnet/results.h"
#include "nn/optim/optimizer.h"
#include "nn/scope.h"
#include "nn/serialize.h"

namespace cifar_resnet {

struct Position {
  int64_t epoch = 0;  // finished epochs
  int64_t batch = 0;  // finished batches of the next one
};

struct Running {  // sums over the finished part of an epoch
  double loss = 0;
  int64_t right = 0, images = 0;
  void add(const Running& r) { *this = {loss + r.loss, right + r.right, images + r.images}; }
  Running without(const Running& r) const { return {loss - r.loss, right - r.right, images - r.images}; }
  double mean_loss() const { return images ? loss / double(images) : 0; }
  double accuracy() const { return images ? double(right) / double(images) : 0; }
};

// Where a run stands, beside its tensors.
struct RunState {
  Position position;
  Running running;
  std::vector<EpochResult> history;  // of every finished epoch
  nlohmann::json options = nlohmann::json::object();
};

// Written whole or not at all, with the position of the default random generator. Throws FileError.
void save_checkpoint(const std::filesystem::path& file, const mininn::nn::ParamStore& params,
                     const mininn::optim::Optimizer& optimizer, const RunState& state);

class Checkpoint {
 public:
  // Throws FileError if the file is missing or damaged: afterwards the numbers of state() agree with each other. How
  // many batches an epoch has and how many epochs there are is for the caller to compare.
  explicit Checkpoint(std::filesystem::path file);

  const RunState& state() const { return state_; }
  const std::filesystem::path& file() const { return file_; }

  // Also the default random generator. Throws FileError if the tensors are of another network or optimizer.
  void restore(mininn::nn::ParamStore& params, mininn::optim::Optimizer& optimizer) const;

 private:
  std::filesystem::path file_;
  mininn::nn::SafeTensors model_;
  mininn::optim::State optimizer_;
  mininn::Generator random_;
  RunState state_;
};

}  // namespace cifar_resnet
