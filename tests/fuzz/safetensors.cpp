// Tensors in files: what is read is written as it was, fits the network of its shapes, and makes a classifier if it
// says so.
#include "nn/serialize.h"

#include "examples/cifar_resnet/network.h"
#include "tests/fuzz/container.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

std::vector<std::string> seeds() {
  nn::SafeTensors mixed{.metadata = {{"format", "pt"}, {"note", "{\"a\": [1, 2]}"}}, .tensors = {}};
  for (const DType t : {DType::f32, DType::f64, DType::bf16, DType::i8, DType::u8, DType::i32, DType::i64})
    mixed.tensors.emplace_back(name(t), Tensor::full({2, 3}, 1, t));
  mixed.tensors.emplace_back("scalar", Tensor::full({}, 1));
  mixed.tensors.emplace_back("empty", Tensor::zeros({0, 4}));
  mixed.tensors.emplace_back("deep", Tensor::zeros({1, 2, 1, 2, 1}));
  const cifar_resnet::Fp32Network resnet(cifar_resnet::architecture("resnet18"), Device::cpu(), 1, 1);
  return {written([&](const auto& file) { mixed.write(file); }),
          written([&](const auto& file) { nn::SafeTensors().write(file); }), written([&](const auto& file) {
            nn::save_safetensors(file, resnet.params, {{"architecture", "resnet18-cifar"}});
          })};
}

std::string mutate(std::string input, Random& random) { return mutate_container(std::move(input), random); }

void use(const std::filesystem::path& file) {
  const nn::SafeTensors content = nn::SafeTensors::read(file);
  const std::string again = written([&](const auto& to) { content.write(to); });
  require(written([&](const auto& to) {
            testing::write_file(to, again);
            nn::SafeTensors::read(to).write(to);
          }) == again,
          "a written file is read as it was");
  if (!content.find("conv1.weight")) return;
  const Tensor logits = cifar_resnet::load_classifier(file)(Tensor::zeros({1, 3, 32, 32}, DType::u8));
  require(logits.shape() == Shape{1, 10}, "a classifier makes logits");
}

}  // namespace mininn::fuzz
