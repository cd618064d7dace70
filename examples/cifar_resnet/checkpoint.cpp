#include "examples/cifar_resnet/checkpoint.h"

#include <cfloat>

#include "core/error.h"
#include "core/file.h"
#include "examples/cifar_resnet/json_fields.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr const char* kModel = "model.";
constexpr const char* kOptimizer = "optimizer.";
constexpr int64_t kMost = int64_t{1} << 40;  // of epochs, batches and images

// Throws ValueError.
RunState run_state(const json& saved) {
  const json &run = object_at(saved, "run"), &running = object_at(run, "running");
  RunState s;
  s.position = {integer_at(saved, "epoch", 0, kMost), integer_at(saved, "batch", 0, kMost)};
  s.running.images = integer_at(running, "images", 0, kMost);
  s.running.right = integer_at(running, "right", 0, s.running.images);
  s.running.loss = number_at(running, "loss", -1, DBL_MAX);  // 0, but for rounding
  s.options = object_at(run, "options");
  for (const json& line : array_at(run, "history")) {
    s.history.push_back(epoch_result(line));
    if (s.history.back().epoch != int64_t(s.history.size()))
      throw ValueError(message("the history has epoch ", s.history.back().epoch, " in place ", s.history.size()));
  }
  if (s.position.epoch != int64_t(s.history.size()))
    throw ValueError(
        message("'epoch' is ", s.position.epoch, ", but the history has ", s.history.size(), " finished epochs"));
  return s;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& file, const nn::ParamStore& params, const optim::Optimizer& optimizer,
                     const RunState& state) {
  nn::SafeTensors content;
  for (const Tensor& t : params.all()) content.tensors.emplace_back(kModel + t.name(), t);
  for (const auto& [name, t] : optimizer.state()) content.tensors.emplace_back(kOptimizer + name, t);
  const Running& running = state.running;
  json history = json::array();
  for (const EpochResult& e : state.history) history.push_back(to_json(e));
  content.metadata["training_state"] =
      json{{"epoch", state.position.epoch},
           {"batch", state.position.batch},
           {"random_seed", default_generator().seed()},
           {"random_position", default_generator().position()},
           {"run",
            {{"options", state.options},
             {"history", history},
             {"running", {{"loss", running.loss}, {"right", running.right}, {"images", running.images}}}}}}
          .dump();
  content.write(file);
}

Checkpoint::Checkpoint(std::filesystem::path file) : file_(std::move(file)) {
  auto content = nn::SafeTensors::read(file_);
  const auto metadata = content.metadata.find("training_state");
  const auto saved = metadata == content.metadata.end() ? std::nullopt : parse_object(metadata->second);
  if (!saved) throw FileError(message(file_.string(), ": is no checkpoint of a training run"));
  try {
    state_ = run_state(*saved);
    random_ = Generator(unsigned_at(*saved, "random_seed"));
    random_.set_position(unsigned_at(*saved, "random_position"));
  } catch (const ValueError& e) {
    throw FileError(message(file_.string(), ": its training state is damaged: ", e.what()));
  }
  optimizer_ = content.extract(kOptimizer);
  model_.tensors = content.extract(kModel);
  if (!content.tensors.empty())
    throw FileError(message(file_.string(), ": has a tensor \"", excerpt(content.tensors[0].first),
                            "\" of neither the network ", "nor its optimizer"));
}

void Checkpoint::restore(nn::ParamStore& params, optim::Optimizer& optimizer) const {
  try {
    optimizer.load_state(optimizer_);
  } catch (const Error& e) {
    throw FileError(message(file_.string(), ": ", e.what()));
  }
  nn::load_parameters(model_, params, {}, file_.string());
  default_generator() = random_;
}

}  // namespace cifar_resnet
