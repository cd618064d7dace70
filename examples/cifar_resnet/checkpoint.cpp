#include "examples/cifar_resnet/checkpoint.h"

#include "core/error.h"
#include "core/random.h"
#include "nn/serialize.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr const char* kModel = "model.";
constexpr const char* kOptimizer = "optimizer.";

json metadata(const nn::SafeTensors& file, const std::filesystem::path& path) {
  const auto it = file.metadata.find("training_state");
  json state = it == file.metadata.end() ? json() : json::parse(it->second, nullptr, false);
  if (!state.is_object() || !state.contains("run") || !state.contains("epoch") || !state.contains("batch"))
    throw FileError(message(path.string(), ": is no checkpoint of a training run"));
  return state;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& file, const nn::ParamStore& params, const optim::Optimizer& optimizer,
                     const Position& position, const json& run) {
  nn::SafeTensors content;
  for (const Tensor& t : params.all()) content.tensors.emplace_back(kModel + t.name(), t);
  for (const auto& [name, t] : optimizer.state()) content.tensors.emplace_back(kOptimizer + name, t);
  content.metadata["training_state"] = json{
      {"epoch", position.epoch},
      {"batch", position.batch},
      {"random_seed", default_generator().seed()},
      {"random_position", default_generator().position()},
      {"run", run}}.dump();
  std::filesystem::create_directories(file.parent_path());
  content.write(file);
}

Restored load_checkpoint(const std::filesystem::path& file, nn::ParamStore& params, optim::Optimizer& optimizer) {
  auto content = nn::SafeTensors::read(file);
  const json state = metadata(content, file);
  try {
    Restored r{{state.at("epoch").get<int64_t>(), state.at("batch").get<int64_t>()}, state.at("run")};
    const auto optimizer_state = content.extract(kOptimizer);
    nn::SafeTensors model;
    model.tensors = content.extract(kModel);
    Generator random(state.at("random_seed").get<uint64_t>());
    random.set_position(state.at("random_position").get<uint64_t>());
    optimizer.load_state(optimizer_state);
    nn::load_parameters(model, params, {}, file.string());
    default_generator() = random;
    return r;
  } catch (const json::exception& e) {
    throw FileError(message(file.string(), ": its training state is damaged: ", e.what()));
  }
}

json peek_checkpoint(const std::filesystem::path& file) {
  return metadata(nn::SafeTensors::read(file), file).at("run");
}

}  // namespace cifar_resnet
