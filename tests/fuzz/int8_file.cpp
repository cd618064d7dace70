// Int8 networks in files: what loads must run, whatever the batch, and survive another file.
#include "quant/int8_file.h"

#include <algorithm>

#include "ops/softmax.h"
#include "ops/work.h"
#include "quant/int8_net.h"
#include "tests/fuzz/container.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/files.h"

namespace mininn::fuzz {

using namespace quant;
using testing::Layers;
using testing::TestNet;

namespace {

constexpr int64_t kMostWork = 1 << 26, kMostMemory = 1 << 24;  // of an image: what is larger only loads

// One step or two: a changed number meets fewer that contradict it.
std::vector<TestNet> tiny_nets() {
  Layers l(1);
  const auto conv = l.conv("conv", 1, 2, 3, {.padding = 1}), even = l.conv("even", 3, 4, 2, {.stride = 2});
  const auto wide = l.conv("wide", 4, 4, 3, {.padding = 2, .dilation = 2, .groups = 2}), fc = l.linear("fc", 3, 2);
  return {{"conv", {2, 1, 5, 5}, conv},
          {"maxpool", {2, 3, 6, 6}, [=](const Tensor& x) { return max_pool2d(even(x), {.kernel = 3, .padding = 1}); }},
          {"avgpool", {2, 4, 5, 5}, [=](const Tensor& x) { return avg_pool2d(wide(x), {.kernel = 2, .stride = 1}); }},
          {"silu", {2, 3, 4, 4}, [=](const Tensor& x) { return silu(even(x)); }},
          {"add", {2, 4, 3, 3}, [=](const Tensor& x) { return wide(x) + x; }},
          {"fc", {2, 3}, fc},
          {"softmax", {2, 3, 4, 4}, [=](const Tensor& x) { return even(softmax(x, 1)); }},
          {"mean", {2, 3, 4, 4}, [=](const Tensor& x) { return fc(flatten(global_avg_pool2d(x))); }}};
}

bool is_small(const Int8Model& m) {
  const std::vector<TensorInfo> infos = infos_of_one(m.graph);
  double work = 0, memory = 0;
  for (const TensorInfo& t : infos) memory += double(numel(t.shape));
  for (const nn::graph::Node& n : m.graph.nodes) {
    const Work w = work_of(*n.op, input_infos(n, infos), n.attrs, infos[size_t(n.output)]);
    work += double(w.macs) + double(w.reads);
  }
  return work <= kMostWork && memory <= kMostMemory;
}

Tensor input(const Int8Model& m, int64_t n) {
  Shape shape = m.input().shape;
  shape[0] = n;
  Tensor x = Tensor::empty(shape, m.input().dtype);
  const int64_t image = numel(shape) / n;
  for (int64_t i = 0; i < numel(shape); ++i) {  // the same image n times
    const auto byte = uint8_t(i % image * 37);
    if (m.normalization)
      x.mutable_data<uint8_t>()[size_t(i)] = byte;
    else
      x.mutable_data<float>()[size_t(i)] = (float(byte) - 128) / 32;
  }
  return x;
}

std::string bits(const Tensor& y, int64_t image) {
  const Tensor flat = Tensor::empty(y.shape(), y.dtype());
  Tensor(flat).copy_from(y);
  const size_t bytes = size_t(y.numel() / y.size(0)) * size_of(y.dtype());
  return {reinterpret_cast<const char*>(flat.view().data) + size_t(image) * bytes, bytes};
}

// Whether the result does not depend on what float kernels are chosen.
bool is_exact(const Int8Model& m) {
  return std::ranges::all_of(m.layers, [](const LayerNote& l) { return l.in_float.empty(); });
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> files;
  auto nets = testing::test_nets(1);
  for (TestNet& net : tiny_nets()) nets.push_back(std::move(net));
  for (const TestNet& net : nets)
    for (const bool images : {false, true})
      if (!images || (net.input.rank() == 4 && net.input[1] == 3 && net.name != "mean"))
        files.push_back(written([&](const auto& file) {
          testing::calibrated(net, 1, images, {.activations = minmax()}).compile().save(file);
        }));
  for (const char* name : {"image", "maps", "flat"})
    files.push_back(testing::read_file(std::filesystem::path(MININN_SOURCE_DIR) / "tests/quant/version_1" /
                                       (std::string(name) + ".safetensors")));
  return files;
}

std::string mutate(std::string input, Random& random) { return mutate_container(std::move(input), random); }

void use(const std::filesystem::path& file) {
  is_int8_file(file);
  int8_file_items(file);
  const Int8Model model = load_int8(file);
  const Int8Net net(model);
  net.report();
  if (!is_small(model)) return;
  const Tensor one = net(input(model, 1)), five = net(input(model, 5));
  if (is_exact(model)) require(bits(one, 0) == bits(five, 4), "the result does not depend on the batch");
  Int8Stepper stepper(net, 1);
  stepper.set_input(input(model, 1));
  for (size_t i = 0; i < model.graph.nodes.size(); ++i) stepper.run(i);
  for (size_t i = 0; i < model.graph.values.size(); ++i) stepper.real(int(i));
  const std::string again = written([&](const auto& to) { net.save(to); });
  require(written([&](const auto& to) {
            testing::write_file(to, again);
            save_int8(to, load_int8(to));
          }) == again,
          "a saved net loads as it was");
}

}  // namespace mininn::fuzz
