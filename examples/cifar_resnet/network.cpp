#include "examples/cifar_resnet/network.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/autograd.h"
#include "core/device.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "data/augment.h"
#include "data/cifar10.h"
#include "data/synthetic.h"
#include "examples/cifar_resnet/interrupt.h"
#include "examples/cifar_resnet/progress.h"
#include "nn/graph/passes.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "quant/int8_file.h"
#include "quant/int8_net.h"

namespace cifar_resnet {

using namespace mininn;

namespace {
constexpr int64_t kSyntheticTrain = 50'000, kSyntheticTest = 10'000;  // as many as CIFAR-10 has

// With U+FFFD for what is no UTF-8 (paths may be anything), as JSON and safetensors files need it.
std::string as_utf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

std::optional<Path> cifar10_folder(const CommonOptions& o) {
  return data::find_cifar10(o.data.empty() ? std::nullopt : std::optional<Path>(o.data));
}

const Architecture& architecture_of(const nn::SafeTensors& content, const Path& file) {
  const auto named = content.metadata.find("architecture");
  if (named == content.metadata.end()) return architecture("resnet18");
  for (const Architecture& a : architectures())
    if (a.in_files() == named->second) return a;
  throw FileError(
      message(file.string(), ": holds a network that this program does not know, \"", excerpt(named->second), '"'));
}

nn::SafeTensors read_fp32(const Path& file) {
  auto content = nn::SafeTensors::read(file);
  if (quant::is_int8(content))
    throw FileError(message(file.string(), ": holds an int8 network, where an fp32 one is needed"));
  for (const auto& [name, t] : content.tensors) {
    if (!is_floating(t.dtype())) continue;  // a counter
    for (const double v : t.to_vector())
      if (!std::isfinite(float(v))) throw FileError(message(file.string(), ": ", name, " is not finite everywhere"));
  }
  return content;
}

}  // namespace

Device apply(const CommonOptions& o) {
  if (o.threads < 0) throw ValueError(message("--threads ", o.threads, ": must be positive"));
  if (o.threads > 0) set_num_threads(o.threads);
  if (o.backend == "own")
    set_preference(Preference::own);
  else if (o.backend == "vendor")
    set_preference(Preference::vendor);
  return Device::parse(o.device);
}

data::Dataset open_data(const CommonOptions& o, data::Split split, int64_t limit) {
  if (o.data == "synthetic") {
    const int64_t all = split == data::Split::test ? kSyntheticTest : kSyntheticTrain;
    return data::synthetic(limit > 0 ? std::min(limit, all) : all, split);
  }
  const auto dir = cifar10_folder(o);
  if (!dir)
    throw FileError(
        "no CIFAR-10 found: run data/fetch_cifar10.sh, name its folder with --data, or try --data synthetic");
  data::Dataset set = data::load_cifar10(*dir, split);
  set.source = as_utf8(set.source);
  return limit > 0 ? set.take(limit) : set;
}

std::vector<NamedFile> data_files(const CommonOptions& o) {
  const auto dir = o.data == "synthetic" ? std::nullopt : cifar10_folder(o);
  std::vector<NamedFile> files;
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                           "data_batch_5.bin", "test_batch.bin"})
    if (dir) files.push_back({message(name, " of --data"), *dir / name});
  return files;
}

Fp32Network::Fp32Network(const Architecture& a, Device device, uint64_t seed, int64_t base_channels)
    : architecture(&a), params(device, seed), model(a.make(params.root(), base_channels)) {}

Fp32Network::Fp32Network(const Architecture& a, nn::ParamStore::Source values, int64_t base_channels)
    : architecture(&a), params(Device::cpu(), std::move(values)), model(a.make(params.root(), base_channels)) {}

std::unique_ptr<Fp32Network> Fp32Network::load(const Path& file) {
  const auto content = read_fp32(file);
  const Architecture& a = architecture_of(content, file);
  const std::string name = std::string(a.stem) + ".weight";
  const Tensor stem = content.find(name);
  if (!stem || stem.rank() != 4 || stem.size(0) < 1 || stem.size(0) > 4096)
    throw FileError(message(file.string(), ": holds no network of this program (no ", name, " of 1 to 4096 filters)"));
  auto net = std::make_unique<Fp32Network>(a, nn::values_of(content, file.string()), a.stem_divisor * stem.size(0));
  nn::load_parameters(content, net->params, {}, file.string());  // names what is left over
  net->params.train(false);
  return net;
}

void Fp32Network::read_values(const Path& file) { nn::load_parameters(read_fp32(file), params, {}, file.string()); }

nn::graph::Graph Fp32Network::graph() {
  params.train(false);
  return nn::graph::optimize(nn::trace(*model, Tensor::zeros({1, 3, 32, 32}, DType::f32, params.device())));
}

namespace {

// Of a network of normalised images.
Classify classifier_of(nn::graph::Graph g, Device device) {
  g.to(device);
  return [net = nn::graph::Program(std::move(g)), device](const Tensor& images) {
    return net(data::normalize(images.to(device))).to(Device::cpu());
  };
}

}  // namespace

Classify Fp32Network::classifier() { return classifier_of(graph(), params.device()); }

Classify load_classifier(const Path& file, Device device) {
  if (!quant::is_int8_file(file)) return classifier_of(Fp32Network::load(file)->graph(), device);
  if (device == Device::cpu())
    return [net = quant::Int8Net::load(file)](const Tensor& images) { return net.forward(images); };
  quant::Int8Model model = quant::load_int8(file);
  model.graph.to(device);
  return [net = nn::graph::Program(std::move(model.graph)), raw = model.normalization.has_value(),
          device](const Tensor& images) {
    const Tensor there = images.to(device);
    return net(raw ? there : data::normalize(there)).to(Device::cpu());
  };
}

void require_cpu(const CommonOptions& o, const char* command) {
  if (o.device != "auto" && Device::parse(o.device) != Device::cpu())
    throw ValueError(message("--device ", o.device, ": ", command, " works on the CPU alone"));
}

Tensor image_range(const data::Dataset& set, int64_t begin, int64_t end) {
  Shape shape = set.images.shape();
  shape[0] = end - begin;
  return set.images.as_strided(shape, set.images.strides(), begin * set.images.strides()[0]);
}

Evaluation evaluate(const Classify& classify, const data::Dataset& set, int64_t batch, const std::string& label) {
  if (batch < 1) throw ValueError(message("a batch size of ", batch, " evaluates nothing"));
  const NoGradGuard no_grad;
  const auto classes = int64_t(set.classes.size());
  const auto labels = set.labels.data<int64_t>();
  Evaluation e;
  e.images = set.size();
  e.logits.reserve(size_t(e.images * classes));
  int64_t right = 0;
  double loss = 0;
  Progress progress(label, e.images);
  for (int64_t begin = 0; begin < e.images; begin += batch) {
    const int64_t end = std::min(begin + batch, e.images);
    throw_if_interrupted();
    const Tensor logits = classify(image_range(set, begin, end));
    const auto values = logits.data<float>();
    if (logits.shape() != Shape{end - begin, classes})
      throw ShapeError(
          message("the network gives ", logits.shape(), " for ", end - begin, " images of ", classes, " classes"));
    for (int64_t i = begin; i < end; ++i) {
      const auto row = values.subspan(size_t((i - begin) * classes), size_t(classes));
      const auto best = std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float v : row) {
        if (!std::isfinite(v)) throw ValueError(message(label, ": the logits of image ", i, " are not finite"));
        sum += std::exp(double(v) - double(*best));
      }
      const int64_t truth = labels[size_t(i)];
      loss += std::log(sum) + double(*best) - double(row[size_t(truth)]);
      e.predicted.push_back(int(best - row.begin()));
      right += e.predicted.back() == truth;
    }
    e.logits.insert(e.logits.end(), values.begin(), values.end());
    progress.update(end, {.loss = loss / double(end), .accuracy = double(right) / double(end)});
  }
  e.accuracy = double(right) / double(e.images);
  e.loss = loss / double(e.images);
  e.images_per_s = progress.images_per_second();
  e.logits_sha256 = Sha256().update(std::span<const float>(e.logits)).hex();
  char text[80];
  std::snprintf(text, sizeof text, "accuracy %.2f%%, loss %.4f", 100 * e.accuracy, e.loss);
  progress.finish(text);
  return e;
}

std::string machine_name() { return message(cpu_name(), " (", std::thread::hardware_concurrency(), " cores)"); }

std::string git_revision() { return MININN_GIT_REVISION; }

}  // namespace cifar_resnet
