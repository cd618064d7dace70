// A trained network as the commands see it: raw images in, logits out, whatever the file holds.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "examples/cifar_resnet/architecture.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/outputs.h"
#include "nn/graph/graph.h"
#include "nn/scope.h"
#include "nn/serialize.h"

namespace cifar_resnet {

// u8 images [N,3,H,W] -> f32 logits [N,classes].
using Classify = std::function<mininn::Tensor(const mininn::Tensor&)>;

// Makes the device, the backend and the number of threads what the options say. Throws ValueError or DeviceError.
mininn::Device apply(const CommonOptions& o);

// The data that the options name: a folder, "synthetic", or the usual places; its first `limit` images, or all if that
// is 0. Throws FileError if there is none.
mininn::data::Dataset open_data(const CommonOptions& o, mininn::data::Split split, int64_t limit);

// The files that open_data() reads. Throws FileError as find_cifar10() does.
std::vector<NamedFile> data_files(const CommonOptions& o);

// A network with its parameters.
struct Fp32Network {
  Fp32Network(const Architecture& a, mininn::Device device, uint64_t seed,
              int64_t base_channels = Architecture::kBaseChannels);
  // With the values of a file instead of random ones; see nn::values_of().
  Fp32Network(const Architecture& a, mininn::nn::ParamStore::Source values, int64_t base_channels);
  // Reads a checkpoint of any width; one that names no architecture is a ResNet-18. Throws FileError.
  static std::unique_ptr<Fp32Network> load(const Path& file);
  // Takes the values of a file of the same network. Throws FileError; then nothing has changed.
  void read_values(const Path& file);

  // The inference form: batch norm folded, convolution + add + ReLU fused. It runs where the parameters are.
  mininn::nn::graph::Graph graph();
  Classify classifier();

  const Architecture* architecture;
  mininn::nn::ParamStore params;
  std::unique_ptr<Network> model;
};

// Evaluation mode, for a while.
class EvalMode {
 public:
  explicit EvalMode(mininn::nn::ParamStore& params) : params_(params), training_(params.training()) {
    params.train(false);
  }
  ~EvalMode() { params_.train(training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  mininn::nn::ParamStore& params_;
  const bool training_;
};

// The classifier that a file holds, fp32 or int8, on a device; images and logits are on the CPU. Throws FileError.
Classify load_classifier(const Path& file, mininn::Device device = mininn::Device::cpu());
// For commands that work on the CPU alone. Throws ValueError if the options ask for another device.
void require_cpu(const CommonOptions& o, const char* command);

struct Quality {
  double loss = 0, accuracy = 0;  // mean cross-entropy in nats; fraction of 1
};

struct Evaluation : Quality {
  int64_t images = 0;
  double images_per_s = 0;
  std::vector<float> logits;  // [images, classes], in image order
  std::vector<int> predicted;
  std::string logits_sha256;
};

// Runs the whole set through `classify`, `batch` images at a time. Throws ValueError if a logit is not finite,
// Interrupted inside an InterruptScope.
Evaluation evaluate(const Classify& classify, const mininn::data::Dataset& set, int64_t batch,
                    const std::string& label);

// Images [begin, end) of a set, sharing its memory.
mininn::Tensor image_range(const mininn::data::Dataset& set, int64_t begin, int64_t end);

// For summaries: "Intel(R) ... (2 cores)", and the commit the build was configured at ("unknown" outside a checkout).
std::string machine_name();
std::string git_revision();

}  // namespace cifar_resnet
