// cifar_resnet train: ResNet-18 from random weights to a checkpoint, resumable to the bit.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/autograd.h"
#include "core/parallel.h"
#include "core/random.h"
#include "data/loader.h"
#include "examples/cifar_resnet/checkpoint.h"
#include "examples/cifar_resnet/figures.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/progress.h"
#include "examples/cifar_resnet/report.h"
#include "examples/cifar_resnet/results.h"
#include "nn/optim/schedule.h"
#include "nn/optim/sgd.h"
#include "nn/serialize.h"
#include "ops/cross_entropy.h"
#include "ops/reduce.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr int64_t kStepsPerMetric = 50;  // a line in metrics.jsonl
constexpr int64_t kEvalBatch = 100;
constexpr int64_t kImplicitValSplit = 5000;  // what early stopping holds out if --val-split does not say

volatile std::sig_atomic_t interrupted = 0;

// Ctrl-C ends the run after the current step with a checkpoint; a second one ends it at once.
class InterruptScope {
 public:
  InterruptScope() {
    interrupted = 0;
    std::signal(SIGINT, [](int) {
      interrupted = 1;
      std::signal(SIGINT, SIG_DFL);
    });
  }
  ~InterruptScope() { std::signal(SIGINT, SIG_DFL); }
};

// What a recipe decides beside the options.
struct Recipe {
  data::AugmentOptions augment = data::kCifar10Augment;
  double label_smoothing = 0;
  bool nesterov = false;
  std::string schedule;
};

Recipe recipe(const TrainOptions& o) {
  Recipe r;
  r.schedule = o.schedule;
  if (o.recipe == "fast") {  // Jordan 2024 (arXiv:2404.00498) uses the same ingredients
    r.augment.flip = data::Flip::alternating;
    r.augment.border = data::Border::reflect;
    r.label_smoothing = 0.1;
    r.nesterov = true;
    r.schedule = "one-cycle";
  }
  return r;
}

// A rate of 0.1 from the first step throws random weights far off, which a long run forgets and a short one does not.
double default_warmup(int64_t epochs) { return std::min(1.0, 0.2 * double(epochs)); }

double learning_rate(const Recipe& r, const TrainOptions& o, int64_t step, int64_t total) {
  if (r.schedule == "one-cycle") return optim::one_cycle_lr(o.lr, step, std::max<int64_t>(total, 2));
  if (r.schedule == "step") return optim::step_lr(o.lr, step, std::max<int64_t>(total / 3, 1));
  const double share = o.warmup.value_or(default_warmup(o.epochs)) / double(o.epochs);
  return optim::cosine_lr(o.lr, step, total, int64_t(share * double(total)));
}

// The options that shape the sequence of weights. A resumed run must have been started with the same ones.
json fingerprint(const TrainOptions& o, const data::Dataset& set) {
  return {{"epochs", o.epochs},
          {"batch-size", o.batch_size},
          {"lr", o.lr},
          {"momentum", o.momentum},
          {"weight-decay", o.weight_decay},
          {"schedule", o.schedule},
          {"warmup", o.warmup.value_or(default_warmup(o.epochs))},
          {"recipe", o.recipe},
          {"width", o.width},
          {"seed", o.seed},
          {"val-split", o.val_split},
          {"early-stop", o.early_stop},
          {"training images", set.size()},
          {"data", set.source}};
}

void require_same(const json& before, const json& now, const Path& checkpoint) {
  for (const auto& [key, value] : now.items())
    if (!before.contains(key) || before.at(key) != value)
      throw ValueError(message("--resume: ", checkpoint.string(), " was made with ", key, ' ',
                               before.contains(key) ? before.at(key).dump() : "unknown", ", this run has ",
                               value.dump()));
}

struct Running {  // sums over the finished part of an epoch
  double loss = 0;
  int64_t right = 0, images = 0;
  double mean_loss() const { return images ? loss / double(images) : 0; }
  double accuracy() const { return images ? double(right) / double(images) : 0; }
};

class Trainer {
 public:
  Trainer(const TrainOptions& o, Device device)
      : o_(o),
        recipe_(recipe(o)),
        train_set_(open_data(o, data::Split::train, o.limit_train)),
        test_set_(open_data(o, data::Split::test, o.limit_test)),
        base_channels_(std::max<int64_t>(std::llround(64 * o.width), 1)),
        model_file_(o.model.empty() ? o.out / "resnet18.safetensors" : o.model),
        checkpoint_(o.out / "checkpoint" / "last.safetensors"),
        metrics_(o.out / "metrics.jsonl"),
        net_(device, o.seed, base_channels_),
        sgd_(net_.params.trainable(),
             {.momentum = o.momentum, .weight_decay = o.weight_decay, .nesterov = recipe_.nesterov && o.momentum > 0}) {
    if (o.val_split > 0) std::tie(train_set_, validation_) = data::hold_out(train_set_, o.val_split, o.seed);
    loader_.emplace(train_set_, data::LoaderOptions{.batch_size = o.batch_size,
                                                    .drop_last = train_set_.size() >= o.batch_size,
                                                    .augment = recipe_.augment,
                                                    .seed = o.seed});
    total_steps_ = o.epochs * loader_->batches();
  }

  void run() {
    start();
    const InterruptScope interrupt;
    while (position_.epoch < o_.epochs && !stopped_early()) {
      train_epoch();
      finish_epoch();
    }
    summarize();
  }

 private:
  void start() {
    std::filesystem::create_directories(o_.out);
    manual_seed(o_.seed);
    const json options = fingerprint(o_, train_set_);
    if (o_.resume && std::filesystem::exists(checkpoint_)) {
      require_same(peek_checkpoint(checkpoint_).at("options"), options, checkpoint_);
      Restored r = load_checkpoint(checkpoint_, net_.params, sgd_);
      position_ = r.position;
      history_ = r.run.at("history");
      const json& sums = r.run.at("running");
      running_ = {sums.at("loss"), sums.at("right"), sums.at("images")};
      metrics_.keep_until(position_.epoch * loader_->batches() + position_.batch);
      std::printf("resumed after epoch %lld, batch %lld\n", (long long)position_.epoch, (long long)position_.batch);
    } else {
      if (o_.resume) std::printf("nothing to resume in %s: starting anew\n", checkpoint_.parent_path().c_str());
      metrics_.keep_until(-1);
    }
    run_state_ = {{"options", options}};
    std::printf("ResNet-18, %lld parameters, on %s with %d threads (%s kernels); %lld training images from %s\n",
                (long long)net_.params.count(), to_string(net_.params.device()).c_str(), num_threads(),
                o_.backend.c_str(), (long long)train_set_.size(), train_set_.source.c_str());
    std::fflush(stdout);
  }

  // Throws if the user interrupted it; then a checkpoint holds the finished batches.
  void train_epoch() {
    net_.params.train(true);
    const int64_t images_after = (o_.epochs - position_.epoch - 1) * loader_->images();
    Progress progress(message("epoch ", position_.epoch + 1, '/', o_.epochs), loader_->images(), images_after);
    const int64_t seen_before = running_.images;
    double lr = 0;
    for (const auto& [x, labels] : loader_->epoch(position_.epoch, position_.batch)) {
      const int64_t step = position_.epoch * loader_->batches() + position_.batch;
      lr = learning_rate(recipe_, o_, step, total_steps_);
      const Tensor logits = net_.model(x.to(net_.params.device()));
      const Tensor loss =
          cross_entropy(logits, labels.to(net_.params.device()), {.label_smoothing = recipe_.label_smoothing});
      const double loss_value = loss.item();
      if (!std::isfinite(loss_value))
        throw ValueError(message("the loss became ", loss_value, " in epoch ", position_.epoch + 1, " at step ", step,
                                 "; the last checkpoint is ", checkpoint_.string(), "; try a smaller --lr"));
      sgd_.zero_grad();
      loss.backward();
      sgd_.step(lr);

      const int64_t n = labels.numel();
      running_.loss += loss_value * double(n);
      running_.right += count_right(logits, labels);
      running_.images += n;
      ++position_.batch;
      progress.update(running_.images, {.loss = running_.mean_loss(), .accuracy = running_.accuracy(), .lr = lr});
      if ((step + 1) % kStepsPerMetric == 0)
        metrics_.append({{"kind", "step"},
                         {"step", step + 1},
                         {"epoch", position_.epoch + 1},
                         {"loss", running_.mean_loss()},
                         {"accuracy", running_.accuracy()},
                         {"lr", lr},
                         {"images_per_s", double(running_.images - seen_before) / progress.seconds()}});
      if (interrupted && position_.batch < loader_->batches()) {
        save(position_);
        throw Error(
            message("interrupted after epoch ", position_.epoch, ", batch ", position_.batch, "; go on with --resume"));
      }
    }
    train_seconds_ = progress.seconds();
    train_images_per_s_ = double(running_.images - seen_before) / train_seconds_;
    last_lr_ = lr;
    char text[96];
    std::snprintf(text, sizeof text, "loss %.4f, accuracy %.2f%%", running_.mean_loss(), 100 * running_.accuracy());
    progress.finish(text);
  }

  static int64_t count_right(const Tensor& logits, const Tensor& labels) {
    const NoGradGuard no_grad;
    const Tensor best = argmax(logits.detach(), 1).to(Device::cpu());
    const auto a = best.data<int64_t>(), b = labels.data<int64_t>();
    return std::inner_product(a.begin(), a.end(), b.begin(), int64_t{0}, std::plus<>(), std::equal_to<>());
  }

  void finish_epoch() {
    ++position_.epoch;
    position_.batch = 0;
    json line{{"kind", "epoch"},
              {"epoch", position_.epoch},
              {"step", position_.epoch * loader_->batches()},
              {"train_loss", running_.mean_loss()},
              {"train_accuracy", running_.accuracy()},
              {"lr", last_lr_},
              {"seconds", train_seconds_},
              {"images_per_s", train_images_per_s_}};
    const Classify classify = net_.classifier();
    const auto measure = [&](const data::Dataset& set, const std::string& name) {
      const Evaluation e = evaluate(classify, set, kEvalBatch, "  " + name);
      line[name + "_loss"] = e.loss;
      line[name + "_accuracy"] = e.accuracy;
    };
    if (validation_.images) measure(validation_, "validation");
    measure(test_set_, "test");
    running_ = {};
    history_.push_back(line);
    nn::save_safetensors(model_file_, net_.params, model_metadata());
    if (validation_.images && best_epoch() == position_.epoch) {
      Path best = model_file_;
      best.replace_filename(model_file_.stem().string() + "_best.safetensors");
      nn::save_safetensors(best, net_.params, model_metadata());
    }
    metrics_.append(line);
    if (position_.epoch % o_.checkpoint_every == 0 || position_.epoch == o_.epochs || interrupted) save(position_);
    draw_history(o_.out, history_);
    if (interrupted && position_.epoch < o_.epochs)
      throw Error(message("interrupted after epoch ", position_.epoch, "; go on with --resume"));
  }

  void save(const Position& p) {
    run_state_["history"] = history_;
    run_state_["running"] = {{"loss", running_.loss}, {"right", running_.right}, {"images", running_.images}};
    save_checkpoint(checkpoint_, net_.params, sgd_, p, run_state_);
  }

  std::map<std::string, std::string> model_metadata() const {
    return {{"architecture", "resnet18-cifar"},
            {"epoch", std::to_string(position_.epoch)},
            {"seed", std::to_string(o_.seed)}};
  }

  // The epoch (from 1) with the lowest validation loss; 0 without a validation set.
  int64_t best_epoch() const {
    int64_t best = 0;
    for (const auto& line : history_)
      if (line.contains("validation_loss") &&
          (best == 0 || line.at("validation_loss") < history_.at(size_t(best) - 1).at("validation_loss")))
        best = line.at("epoch");
    return best;
  }

  bool stopped_early() const {
    if (o_.early_stop == 0 || position_.epoch - best_epoch() < o_.early_stop) return false;
    std::printf("no better validation loss for %lld epochs: stopping early (best was epoch %lld)\n",
                (long long)o_.early_stop, (long long)best_epoch());
    return true;
  }

  void draw_maps() {
    if constexpr (kHaveFigures) {
      const NoGradGuard no_grad;
      net_.params.train(false);
      const Tensor image = image_range(test_set_, 0, 1);
      std::vector<FeatureMaps> layers;
      const char* names[] = {"stem", "layer1", "layer2", "layer3", "layer4"};
      for (const Tensor& map : net_.model.feature_maps(data::normalize(image).to(net_.params.device()))) {
        FeatureMaps f{.name = names[layers.size()], .height = map.size(2), .width = map.size(3), .channels = {}};
        const auto values = map.to_vector();  // row-major: one plane after the other
        const auto plane = size_t(f.height * f.width);
        for (size_t c = 0; c < 16 && (c + 1) * plane <= values.size(); ++c)
          f.channels.emplace_back(values.begin() + std::ptrdiff_t(c * plane),
                                  values.begin() + std::ptrdiff_t((c + 1) * plane));
        layers.push_back(std::move(f));
      }
      const auto label = size_t(test_set_.labels.data<int64_t>()[0]);
      draw_feature_maps(o_.out / "feature_maps.png", image.data<uint8_t>(), "test image 0: " + test_set_.classes[label],
                        layers);
    }
  }

  void summarize() {
    const json& last = history_.back();
    draw_maps();
    update_summary(o_.out / "summary.json", {{"train",
                                              {{"epochs", position_.epoch},
                                               {"test_accuracy", last.at("test_accuracy")},
                                               {"test_loss", last.at("test_loss")},
                                               {"images_per_s", last.at("images_per_s")},
                                               {"threads", num_threads()},
                                               {"backend", o_.backend},
                                               {"options", run_state_.at("options")}}},
                                             {"fp32_accuracy", last.at("test_accuracy")},
                                             {"fp32_file_bytes", std::filesystem::file_size(model_file_)}});
    write_report(o_.out);
    std::printf("test accuracy %.2f%% after %lld epochs; the network is in %s, everything else in %s\n",
                100 * last.at("test_accuracy").get<double>(), (long long)position_.epoch, model_file_.c_str(),
                o_.out.c_str());
  }

  TrainOptions o_;
  Recipe recipe_;
  data::Dataset train_set_, test_set_, validation_;  // validation_ has no images if none are held out
  int64_t base_channels_;
  Path model_file_, checkpoint_;
  MetricsLog metrics_;
  Fp32Network net_;
  optim::Sgd sgd_;
  std::optional<data::Loader> loader_;
  int64_t total_steps_ = 0;

  Position position_;
  Running running_;
  json history_ = json::array();  // a line per finished epoch
  json run_state_;
  double train_seconds_ = 0, train_images_per_s_ = 0, last_lr_ = 0;
};

}  // namespace

void train(const TrainOptions& given) {
  TrainOptions o = given;
  if (o.warmup && *o.warmup >= double(o.epochs))
    throw ValueError(message("--warmup ", *o.warmup, ": must end before the ", o.epochs, " epochs of the run do"));
  if (o.early_stop > 0 && o.val_split == 0) o.val_split = kImplicitValSplit;
  Trainer(o, apply(o)).run();
}

}  // namespace cifar_resnet
