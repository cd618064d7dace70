// Whole training runs on a small residual network: do the parts work together, to the bit?
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/allocator.h"
#include "core/autograd.h"
#include "core/parallel.h"
#include "core/sanitizer.h"
#include "data/loader.h"
#include "data/synthetic.h"
#include "examples/cifar_resnet/resnet.h"
#include "nn/batch_norm.h"
#include "nn/conv2d.h"
#include "nn/linear.h"
#include "nn/optim/adam.h"
#include "nn/optim/schedule.h"
#include "nn/optim/sgd.h"
#include "nn/serialize.h"
#include "ops/cast.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "tests/support/allocations.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;

namespace {

class SmallResidualNet final : public nn::Module {
 public:
  explicit SmallResidualNet(const nn::Scope& s)
      : stem_(s / "stem", {.in = 3, .out = 8, .kernel = 3, .stride = 2, .padding = 1, .bias = false}),
        bn0_(s / "bn0", 8),
        conv_(s / "conv", {.in = 8, .out = 8, .kernel = 3, .padding = 1, .bias = false}),
        bn1_(s / "bn1", 8),
        fc_(s / "fc", {.in = 8, .out = 10}) {}
  Tensor forward(const Tensor& x) override {
    const Tensor y = relu(bn0_(stem_(x)));
    return fc_(flatten(global_avg_pool2d(relu(y + bn1_(conv_(y))))));
  }

 private:
  nn::Conv2d stem_;
  nn::BatchNorm2d bn0_;
  nn::Conv2d conv_;
  nn::BatchNorm2d bn1_;
  nn::Linear fc_;
};

struct Run {
  explicit Run(uint64_t seed = 3) : params(Device::cpu(), seed), net(params.root()), opt(params.trainable(), kSgd) {}

  double step(const data::Batch& batch, double lr) {
    const Tensor loss = cross_entropy(net(batch.images), batch.labels);
    opt.zero_grad();
    loss.backward();
    opt.step(lr);
    return loss.item();
  }
  void epochs(const data::Loader& loader, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e)
      for (const auto& batch : loader.epoch(e)) step(batch, 0.05);
  }

  static constexpr optim::SgdOptions kSgd{.momentum = 0.9, .weight_decay = 5e-4, .nesterov = true};
  nn::ParamStore params;
  SmallResidualNet net;
  optim::Sgd opt;
};

bool same_bits(const nn::ParamStore& a, const nn::ParamStore& b) {
  for (size_t i = 0; i < a.all().size(); ++i) {
    const CView x = a.all()[i].view(), y = b.all()[i].view();
    if (x.shape != y.shape || std::memcmp(x.data, y.data, size_t(x.size()) * size_of(x.dtype)) != 0) return false;
  }
  return a.all().size() == b.all().size();
}

data::Loader small_loader() {
  return data::Loader(data::synthetic(256, data::Split::train),
                      {.batch_size = 32, .drop_last = true, .augment = data::kCifar10Augment, .seed = 5});
}

}  // namespace

TEST_CASE("a network overfits one batch, whichever family of kernels goes first") {
  const auto family = GENERATE(Preference::automatic, Preference::own, Preference::vendor);
  const PreferenceGuard preferred(family);
  const data::Loader loader(data::synthetic(32, data::Split::train), {.batch_size = 32});
  auto epoch = loader.epoch(0);
  const data::Batch batch = *epoch.begin();
  Run run;
  const double first = run.step(batch, 0.05);
  double last = first;
  for (int i = 0; i < 400; ++i) last = run.step(batch, 0.05);
  CHECK(first > 1.5);
  CHECK(last < 0.05);
}

TEST_CASE("AdamW overfits one batch") {
  const data::Loader loader(data::synthetic(32, data::Split::train), {.batch_size = 32});
  auto epoch = loader.epoch(0);
  const data::Batch batch = *epoch.begin();
  nn::ParamStore params(Device::cpu(), 1);
  SmallResidualNet net(params.root());
  optim::AdamW opt(params.trainable());
  double last = 1e9;
  for (int i = 0; i < 400; ++i) {
    const Tensor loss = cross_entropy(net(batch.images), batch.labels);
    opt.zero_grad();
    loss.backward();
    opt.step(optim::cosine_lr(0.02, i, 400, 20));
    last = loss.item();
  }
  CHECK(last < 0.05);
}

TEST_CASE("two runs with one seed are equal bit for bit, another seed is not") {
  const auto loader = small_loader();
  Run a, b, c(4);
  a.epochs(loader, 0, 2);
  b.epochs(loader, 0, 2);
  c.epochs(loader, 0, 2);
  CHECK(same_bits(a.params, b.params));
  CHECK_FALSE(same_bits(a.params, c.params));
}

TEST_CASE("with own kernels the number of threads decides no bit of a run") {
  const PreferenceGuard own(Preference::own);
  const auto loader = small_loader();
  const int before = num_threads();
  Run one, two;
  set_num_threads(1);
  one.epochs(loader, 0, 2);
  set_num_threads(2);
  two.epochs(loader, 0, 2);
  set_num_threads(before);
  CHECK(same_bits(one.params, two.params));
}

TEST_CASE("a run resumed from files ends with the bits of one that went through") {
  const auto loader = small_loader();
  Run whole;
  whole.epochs(loader, 0, 3);

  const testing::TempFolder folder;
  const auto file = folder / "checkpoint.safetensors";
  {
    Run first;
    first.epochs(loader, 0, 1);
    nn::SafeTensors content;
    for (const Tensor& t : first.params.all()) content.tensors.emplace_back("model." + t.name(), t);
    for (const auto& [name, t] : first.opt.state()) content.tensors.emplace_back("optimizer." + name, t);
    content.write(file);
  }
  Run second(99);  // other initial weights: all must come from the file
  auto content = nn::SafeTensors::read(file);
  second.opt.load_state(content.extract("optimizer."));
  nn::SafeTensors model;
  model.tensors = content.extract("model.");
  nn::load_parameters(model, second.params);
  second.epochs(loader, 1, 3);
  CHECK(same_bits(whole.params, second.params));
}

TEST_CASE("a training step gives all its memory back") {
  const auto loader = small_loader();
  const data::Batch batch = [&] {
    auto epoch = loader.epoch(0);
    return *epoch.begin();
  }();  // the epoch is over: its thread prepares no more batches
  Run run;
  run.step(batch, 0.01);  // from now on gradients and momentum exist
  const size_t live = allocator(Device::cpu()).stats().live_bytes;
  for (int i = 0; i < 3; ++i) run.step(batch, 0.01);
  CHECK(allocator(Device::cpu()).stats().live_bytes == live);
}

TEST_CASE("a training step asks the heap for nothing that the step before had not") {
  if (kAddressSanitizer) return;  // nothing is recycled
  const bool amp = GENERATE(false, true), adam = GENERATE(false, true);
  const PreferenceGuard own(Preference::own);  // oneDNN allocates with every call
  nn::ParamStore params(Device::cpu(), 1);
  cifar_resnet::ResNet18 net(params.root(), {.base_channels = 16});
  optim::Sgd sgd(params.trainable(), {.momentum = 0.9, .nesterov = true});
  optim::AdamW adamw(params.trainable());
  optim::Optimizer& opt = adam ? static_cast<optim::Optimizer&>(adamw) : sgd;
  const Tensor images = ones({4, 3, 32, 32}), labels = Tensor::zeros({4}, DType::i64);
  const auto step = [&] {
    const Tensor loss = cross_entropy(net(amp ? cast(images, DType::bf16) : images), labels, {.label_smoothing = 0.1});
    opt.zero_grad();
    loss.backward();
    opt.step(0.01);
  };
  step();  // makes gradients, momentum, and the blocks that the second step ends with
  step();
  const size_t before = testing::allocation_count();
  for (int i = 0; i < 3; ++i) step();
  CHECK(testing::allocation_count() == before);
}
