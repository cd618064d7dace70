// Checkpoints of training runs: what loads can be trained on, by the library and by the program that wrote it.
#include "examples/cifar_resnet/checkpoint.h"

#include "core/error.h"
#include "core/random.h"
#include "examples/cifar_resnet/network.h"
#include "nn/optim/sgd.h"
#include "ops/cross_entropy.h"
#include "tests/fuzz/container.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

using namespace cifar_resnet;
using nlohmann::json;

namespace {

constexpr optim::SgdOptions kSgd{.momentum = 0.9, .weight_decay = 5e-4};

TrainOptions tiny(const Path& out) {
  TrainOptions o;
  o.data = "synthetic";
  o.threads = 1;
  o.limit_train = 8;
  o.limit_test = 4;
  o.batch_size = 4;
  o.epochs = 2;
  o.width = 1.0 / 64;
  o.out = out;
  return o;
}

// A run's last checkpoint, as it was after the first epoch and in the middle of the second.
std::vector<std::string> checkpoints() {
  const testing::TempFolder folder;
  train(tiny(folder.path));
  std::vector<std::string> files{read_file(folder / "checkpoint/last.safetensors")};
  Container c = Container::parse(files[0]).value();
  json state = json::parse(c.metadata.at("training_state"));
  state["epoch"] = 1;
  state["run"]["history"].erase(1);
  for (const int batch : {0, 1}) {
    state["batch"] = batch;
    state["run"]["running"] = {{"loss", 2.3 * 4 * batch}, {"right", batch}, {"images", 4 * batch}};
    c.metadata["training_state"] = state.dump();
    files.push_back(c.file());
  }
  return files;
}

}  // namespace

std::vector<std::string> seeds() { return checkpoints(); }

std::string mutate(std::string input, Random& random) { return mutate_container(std::move(input), random); }

void use(const std::filesystem::path& file) {
  {
    const Checkpoint checkpoint(file);
    Fp32Network net(architecture("resnet18"), Device::cpu(), 1, 1);
    optim::Sgd sgd(net.params.trainable(), kSgd);
    checkpoint.restore(net.params, sgd);
    cross_entropy((*net.model)(Tensor::zeros({2, 3, 32, 32})), Tensor::zeros({2}, DType::i64)).backward();
    sgd.step(0.1);
    default_generator().normal();
  }
  const testing::TempFolder out;
  std::filesystem::create_directory(out / "checkpoint");
  testing::write_file(out / "checkpoint/last.safetensors", read_file(file));
  TrainOptions o = tiny(out.path);
  o.resume = true;
  train(o);
}

}  // namespace mininn::fuzz
