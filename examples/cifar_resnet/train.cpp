// cifar_resnet train: from random weights to a checkpoint, resumable to the bit.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/autograd.h"
#include "core/file.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/sha256.h"
#include "core/stopwatch.h"
#include "data/loader.h"
#include "examples/cifar_resnet/checkpoint.h"
#include "examples/cifar_resnet/feature_maps.h"
#include "examples/cifar_resnet/interrupt.h"
#include "examples/cifar_resnet/listeners.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/options.h"
#include "examples/cifar_resnet/outputs.h"
#include "examples/cifar_resnet/progress.h"
#include "examples/cifar_resnet/recipe.h"
#include "examples/cifar_resnet/report.h"
#include "examples/cifar_resnet/results.h"
#include "examples/cifar_resnet/unfold.h"
#include "nn/optim/sgd.h"
#include "nn/serialize.h"
#include "ops/cast.h"
#include "ops/cross_entropy.h"
#include "ops/layout.h"
#include "ops/reduce.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr int64_t kStepsPerMetric = 50;  // a line in metrics.jsonl
constexpr int64_t kEvalBatch = 100;
constexpr int64_t kImplicitValSplit = 5000;  // what early stopping holds out if --val-split does not say

int64_t base_channels(const TrainOptions& o) {
  return std::max<int64_t>(std::llround(double(Architecture::kBaseChannels) * o.width), 1);
}

struct Prediction {
  Tensor logits, loss;
};
Prediction forward(Fp32Network& net, const Tensor& images, const Tensor& labels, const TrainOptions& o,
                   const Recipe& r) {
  const Tensor logits = (*net.model)(o.amp ? cast(images, DType::bf16) : images);
  return {logits, cross_entropy(logits, labels, {.label_smoothing = r.label_smoothing})};
}

void descend(const Tensor& loss, optim::Sgd& sgd, double lr) {
  sgd.zero_grad();
  loss.backward();
  sgd.step(lr);
}

// Of the training that the options describe, by steps on one batch whose network is thrown away.
double images_per_second(const TrainOptions& o, Device device, const data::Dataset& set) {
  const double enough = std::clamp(1.5 * *o.minutes, 0.5, 5.0);  // seconds
  const Recipe r(o);
  Fp32Network net(architecture(o.arch), device, o.seed, base_channels(o));
  optim::Sgd sgd(net.params.trainable(), r.sgd);
  const int64_t n = std::min(o.batch_size, set.size());
  const Tensor images = data::normalize(image_range(set, 0, n).to(device));
  const Tensor labels = slice(set.labels, 0, 0, n).to(device);
  const auto seconds_of = [&](int steps) {
    const Stopwatch watch;
    for (int i = 0; i < steps; ++i) {
      const Tensor loss = forward(net, images, labels, o, r).loss;
      descend(loss, sgd, r.lr / 100);
      (void)loss.item();
    }
    return watch.seconds();
  };
  const double first = seconds_of(1);  // slower: it makes gradients and momentum
  const int more = int(std::clamp(enough / first, 1.0, 1000.0));
  return double(more * n) / seconds_of(more);
}

// --minutes: the fewest epochs of `set`, or of its first images, all of one length. Tests after each epoch come on top.
void fit_to_time(TrainOptions& o, Device device, data::Dataset& set) {
  const int64_t all = set.size() - o.val_split;
  if (all < 1) return;  // which hold_out() refuses
  const double speed = images_per_second(o, device, set.take(all));
  const double images = 60 * *o.minutes * speed;
  o.epochs = int64_t(std::clamp(std::ceil(images / double(all)), 1.0, double(kMostEpochs)));
  const int64_t each = std::clamp(int64_t(images / double(o.epochs)), std::min(o.batch_size, all), all);
  o.limit_train = each + o.val_split;
  std::printf("%.0f images/s: in %g minutes --epochs %lld --limit-train %lld\n", speed, *o.minutes, (long long)o.epochs,
              (long long)o.limit_train);
  set = set.take(o.limit_train);
}

std::string sha256_of(const Path& file) {
  const std::string bytes = read_all(open_regular_file(file).get());
  return Sha256().update(bytes.data(), bytes.size()).hex();
}

// What shapes the sequence of weights. A resumed run must have been started with the same, except for the epochs.
json fingerprint(const TrainOptions& o, Device device, const data::Dataset& set) {
  return {{"epochs", o.epochs},
          {"batch-size", o.batch_size},
          {"lr", Recipe(o).lr},
          {"momentum", o.momentum},
          {"weight-decay", o.weight_decay},
          {"schedule", o.schedule.value_or(kSchedule)},
          {"warmup", o.warmup.value_or(default_warmup(o.epochs))},
          {"recipe", o.recipe},
          {"cutout", o.cutout},
          {"arch", o.arch},
          {"width", o.width},
          {"amp", o.amp},
          {"init", o.init.empty() ? json() : json(sha256_of(o.init))},
          {"seed", o.seed},
          {"val-split", o.val_split},
          {"early-stop", o.early_stop},
          {"device", to_string(device)},
          {"backend", o.backend},
          {"threads", num_threads()},
          {"training images", set.size()},
          {"data", set.source}};
}

void require_same(const json& before, const json& now, const Path& checkpoint) {
  std::string unknown;
  for (const auto& [key, value] : now.items()) {
    if (key == "epochs") continue;
    if (!before.contains(key))
      unknown += (unknown.empty() ? "" : ", ") + key;
    else if (before.at(key) != value)
      throw ValueError(message("--resume: ", checkpoint.string(), " was made with ", key, ' ', before.at(key).dump(),
                               ", this run has ", value.dump()));
  }
  if (!unknown.empty())
    std::printf("%s does not say its %s: if this run has others, it ends with other weights than without a break\n",
                checkpoint.c_str(), unknown.c_str());
}

Path model_file(const TrainOptions& o) { return o.model.empty() ? o.out / (o.arch + ".safetensors") : o.model; }
Path best_file(const TrainOptions& o) {
  const Path model = model_file(o);
  return model.parent_path() / (model.stem().string() + "_best.safetensors");
}

void require_own_files(const TrainOptions& o) {
  std::vector<NamedFile> written = report_files(o.out);
  for (const char* name : {kMetricsFile, "checkpoint/last.safetensors"}) written.push_back(file_of_out(o.out, name));
  written.push_back({"--model", model_file(o)});
  if (o.val_split > 0) written.push_back({"the best network beside --model", best_file(o)});
  std::vector<NamedFile> read = data_files(o);
  if (!o.init.empty()) read.push_back({"--init", o.init});
  require_distinct(written, read);
}

class Trainer {
 public:
  Trainer(const TrainOptions& o, Device device, data::Dataset train_set)
      : o_(o),
        device_(device),
        recipe_(o),
        train_set_(std::move(train_set)),
        test_set_(open_data(o, data::Split::test, o.limit_test)),
        model_file_(model_file(o)),
        best_file_(best_file(o)),
        checkpoint_(o.out / "checkpoint" / "last.safetensors"),
        listeners_(o, test_set_),
        folder_(o.out),
        model_lock_(model_file_) {
    hold_out_validation();
    data::Dataset fed = train_set_;
    fed.images = fed.images.to(device_);
    loader_.emplace(fed, data::LoaderOptions{.batch_size = o.batch_size,
                                             .drop_last = train_set_.size() >= o.batch_size,
                                             .augment = recipe_.augment,
                                             .seed = o.seed});
    total_steps_ = o.epochs * loader_->batches();
    make_folder(checkpoint_.parent_path());
    require_writable(o.out / kSummaryFile);
    require_report(o.out, {kMetricsFile, kFeatureMapsFile});
    require_writable(checkpoint_);
    require_writable(model_file_);
    if (validation_.images) {
      require_writable(best_file_);
      best_lock_.emplace(best_file_);
    }
  }

  void run() {
    const InterruptScope scope;
    start();
    try {
      while (state_.position.epoch < o_.epochs && !stopped_early()) {
        train_epoch();
        finish_epoch();
      }
    } catch (const Interrupted& e) {
      save();
      throw Interrupted(e.signal, message("interrupted after epoch ", state_.position.epoch, ", batch ",
                                          state_.position.batch, "; go on with --resume",
                                          o_.minutes ? message(" --epochs ", o_.epochs, " --limit-train ",
                                                               o_.limit_train, " instead of --minutes")
                                                     : ""));
    } catch (const FileError&) {  // the network could not be written, but what it has learnt is not lost
      save();
      throw;
    }
    summarize();
    listeners_.end();
  }

 private:
  void start() {
    manual_seed(o_.seed);
    std::optional<Checkpoint> checkpoint;
    std::error_code error;
    if (o_.resume && std::filesystem::exists(checkpoint_, error)) {
      checkpoint.emplace(checkpoint_);
      keep_warmup(checkpoint->state().options);
      recipe_ = Recipe(o_);
    } else if (o_.resume) {
      std::printf("nothing to resume in %s: starting anew\n", checkpoint_.parent_path().c_str());
    }
    state_.options = fingerprint(o_, device_, train_set_);
    if (checkpoint) require_fits(*checkpoint);  // before a network is made: options say how large it is

    net_.emplace(architecture(o_.arch), device_, o_.seed, base_channels(o_));
    if (!o_.init.empty() && !checkpoint) begin_with(*net_, o_.init, train_set_);
    sgd_.emplace(net_->params.trainable(), recipe_.sgd);
    if (checkpoint) resume(*checkpoint);
    if (checkpoint) begin(steps_done());
    std::printf("%s, %lld parameters, on %s with %d threads (%s kernels%s); %lld training images from %s\n",
                net_->architecture->title, (long long)net_->params.count(), to_string(device_).c_str(), num_threads(),
                o_.backend.c_str(), o_.amp ? ", mixed precision" : "", (long long)train_set_.size(),
                train_set_.source.c_str());
    std::fflush(stdout);
  }

  void hold_out_validation() {
    if (o_.val_split == 0) return;
    try {
      std::tie(train_set_, validation_) = data::hold_out(train_set_, o_.val_split, o_.seed);
    } catch (const ValueError& e) {
      throw ValueError(
          message(o_.early_stop > 0 ? "--early-stop with " : "", "--val-split ", o_.val_split, ": ", e.what()));
    }
  }

  // The default follows the number of epochs, which a resumed run may change; a warm-up that has begun must not.
  void keep_warmup(const json& options) {
    const json before = options.value("warmup", json());
    if (!o_.warmup && before.is_number() && before >= 0 && before < double(o_.epochs)) o_.warmup = before;
  }

  void require_fits(const Checkpoint& c) const {
    json before = c.state().options;
    if (before.is_object()) {  // runs of programs that had no choice
      before.emplace("amp", false);
      before.emplace("arch", "resnet18");
      before.emplace("init", json());
    }
    require_same(before, state_.options, c.file());
    const auto& [epoch, batch] = c.state().position;
    if (epoch + (batch > 0) > o_.epochs)
      throw ValueError(message("--resume: ", c.file().string(), " has finished ", epoch, " epochs and ", batch,
                               " batches, which is more than --epochs ", o_.epochs));
    const int64_t images = c.state().running.images;
    if (batch > loader_->batches() || images != std::min(batch * o_.batch_size, loader_->images()))
      throw FileError(message(c.file().string(), ": its training state is damaged: ", batch, " batches with ", images,
                              " images of an epoch of ", loader_->batches(), " with ", loader_->images()));
    if (const json planned = c.state().options.value("epochs", json()); planned != o_.epochs)
      std::printf(
          "resumed with %lld epochs instead of %s: the learning rate follows a schedule of %lld epochs from "
          "here on, so the result is not that of a run with %lld epochs from the start\n",
          (long long)o_.epochs, planned.dump().c_str(), (long long)o_.epochs, (long long)o_.epochs);
  }

  void resume(const Checkpoint& c) {
    c.restore(net_->params, *sgd_);
    const RunState& saved = c.state();
    state_ = {saved.position, saved.running, saved.history, state_.options};
    const bool has_momentum = o_.momentum > 0 && steps_done() > 0;
    if (sgd_->state().size() != (has_momentum ? net_->params.trainable().size() : 0))
      throw FileError(message(c.file().string(), ": has not the momentum of every parameter"));
    std::printf("resumed after epoch %lld, batch %lld\n", (long long)state_.position.epoch,
                (long long)state_.position.batch);
  }

  // Whoever forgot --resume finds it there.
  void keep_older_checkpoint() const {
    std::error_code error;
    const Path older = checkpoint_.parent_path() / "previous.safetensors";
    if (!std::filesystem::is_regular_file(checkpoint_, error)) return;
    std::filesystem::rename(checkpoint_, older, error);
    if (error) throw FileError(message(older.string(), ": cannot be written: ", error.message()));
    std::printf("a new run: the checkpoint of the one before is now %s\n", older.c_str());
  }

  void begin(int64_t first_step) {
    listeners_.begin(
        {.epochs = o_.epochs, .steps_per_epoch = loader_->batches(), .first_step = first_step, .network = &*net_},
        state_.history);
  }

  int64_t steps_done() const { return state_.position.epoch * loader_->batches() + state_.position.batch; }

  // May be interrupted after any batch.
  void train_epoch() {
    net_->params.train(true);
    auto& [epoch, batch] = state_.position;
    Running& running = state_.running;
    Running told = running;  // to listeners
    const int64_t images_after = (o_.epochs - epoch - 1) * loader_->images();
    Progress progress(message("epoch ", epoch + 1, '/', o_.epochs), loader_->images(), images_after);
    progress.begin_at(running.images);
    for (const auto& [x, labels] : loader_->epoch(epoch, batch)) {
      const int64_t step = steps_done();
      const double lr = recipe_.learning_rate(step, total_steps_);
      const auto [logits, loss] = forward(*net_, x, labels, o_, recipe_);
      descend(loss, *sgd_, lr);
      const double loss_value = loss.item();  // waits for the device, which has the whole step by now
      if (!std::isfinite(loss_value))
        throw ValueError(message("the loss became ", std::isnan(loss_value) ? "NaN" : "infinite", " in epoch ",
                                 epoch + 1, " at step ", step, "; the last checkpoint is ", checkpoint_.string(),
                                 "; try a smaller --lr"));
      running.add({loss_value * double(labels.numel()), count_right(logits, labels), labels.numel()});
      ++batch;
      if (step == 0) {  // an older run's log is only given up for one that has begun
        keep_older_checkpoint();
        begin(0);
        update_summary(o_.out / kSummaryFile, {{"network", net_->architecture->title}});
      }
      progress.update(running.images, {.loss = running.mean_loss(), .accuracy = running.accuracy(), .lr = lr});
      if ((step + 1) % kStepsPerMetric == 0) {
        const Running since = running.without(told);
        told = running;
        listeners_.step({.step = step + 1,
                         .epoch = epoch + 1,
                         .loss = since.mean_loss(),
                         .accuracy = since.accuracy(),
                         .lr = lr,
                         .images_per_s = progress.images_per_second()});
      }
      listeners_.batch(step + 1);
      throw_if_interrupted();
    }
    train_seconds_ = progress.seconds();
    train_images_per_s_ = progress.images_per_second();
    char text[96];
    std::snprintf(text, sizeof text, "loss %.4f, accuracy %.2f%%", running.mean_loss(), 100 * running.accuracy());
    progress.finish(text);
  }

  static int64_t count_right(const Tensor& logits, const Tensor& labels) {
    const NoGradGuard no_grad;
    const Tensor best = argmax(logits.detach(), 1).to(Device::cpu());
    const Tensor right = labels.to(Device::cpu());
    const auto a = best.data<int64_t>(), b = right.data<int64_t>();
    return std::inner_product(a.begin(), a.end(), b.begin(), int64_t{0}, std::plus<>(), std::equal_to<>());
  }

  // May be interrupted while it evaluates; the epoch is not finished then, though all its batches are.
  void finish_epoch() {
    const int64_t step = steps_done();
    EpochResult e{.epoch = state_.position.epoch + 1,
                  .step = step,
                  .train = {state_.running.mean_loss(), state_.running.accuracy()},
                  .test = {},
                  .validation = {},
                  .lr = recipe_.learning_rate(step - 1, total_steps_),
                  .seconds = train_seconds_,
                  .images_per_s = train_images_per_s_};
    const Classify classify = net_->classifier();
    if (validation_.images) e.validation = evaluate(classify, validation_, kEvalBatch, "  validation");
    e.test = evaluate(classify, test_set_, kEvalBatch, "  test");
    state_.position = {e.epoch, 0};
    state_.running = {};
    state_.history.push_back(e);

    if (!trained_) replace_network(o_.out, {{"network", net_->architecture->title}, {"data", train_set_.source}});
    trained_ = true;
    save_network(model_file_);
    if (best_epoch() == e.epoch) save_network(best_file_);
    listeners_.epoch(e);
    if (e.epoch % o_.checkpoint_every == 0 || e.epoch == o_.epochs) save();
    draw_history(o_.out);
  }

  void save() { save_checkpoint(checkpoint_, net_->params, *sgd_, state_); }

  void save_network(const Path& file) const {
    nn::save_safetensors(file, net_->params,
                         {{"architecture", net_->architecture->in_files()},
                          {"epoch", std::to_string(state_.position.epoch)},
                          {"seed", std::to_string(o_.seed)}},
                         {.weights = o_.save_dtype == "bf16" ? DType::bf16 : DType::f32});
  }

  // The epoch (from 1) with the lowest validation loss; 0 without a validation set.
  int64_t best_epoch() const {
    const EpochResult* best = nullptr;
    for (const EpochResult& e : state_.history)
      if (e.validation && (!best || e.validation->loss < best->validation->loss)) best = &e;
    return best ? best->epoch : 0;
  }

  bool stopped_early() const {
    if (o_.early_stop == 0 || state_.position.epoch - best_epoch() < o_.early_stop) return false;
    std::printf("no better validation loss for %lld epochs: stopping early (best was epoch %lld)\n",
                (long long)o_.early_stop, (long long)best_epoch());
    return true;
  }

  void log_feature_maps() {
    const NoGradGuard no_grad;
    net_->params.train(false);
    const Tensor image = image_range(test_set_, 0, 1);
    std::vector<Tensor> maps;
    net_->model->forward(data::normalize(image.to(device_)), &maps);
    const auto label = size_t(test_set_.labels.data<int64_t>()[0]);
    write_text(o_.out / kFeatureMapsFile,
               to_json(image_features(image, "test image 0: " + test_set_.classes[label], maps)).dump() + '\n');
  }

  void summarize() {
    const EpochResult& last = state_.history.back();
    log_feature_maps();
    std::error_code error;
    if (!trained_) save_network(model_file_);  // a finished run, resumed for its network
    const bool regular = std::filesystem::is_regular_file(model_file_, error);  // it may have gone to a device
    update_summary(o_.out / kSummaryFile,
                   {{"train",
                     {{"epochs", last.epoch},
                      {"test_accuracy", last.test.accuracy},
                      {"test_loss", last.test.loss},
                      {"images_per_s", last.images_per_s},
                      {"threads", num_threads()},
                      {"backend", o_.backend},
                      {"options", state_.options}}},
                    {"fp32_accuracy", last.test.accuracy},
                    {"fp32_file_bytes", regular ? json(std::filesystem::file_size(model_file_)) : json()}});
    write_report(o_.out);
    std::printf("test accuracy %.2f%% after %lld epochs%s; the network is in %s, everything else in %s\n",
                100 * last.test.accuracy, (long long)last.epoch,
                o_.save_dtype == "bf16" ? ", before its weights were rounded to bf16" : "", model_file_.c_str(),
                o_.out.c_str());
  }

  TrainOptions o_;
  Device device_;
  Recipe recipe_;
  data::Dataset train_set_, test_set_, validation_;  // validation_ has no images if none are held out
  Path model_file_, best_file_, checkpoint_;
  Listeners listeners_;
  FolderLock folder_;
  FileLock model_lock_;  // it may be in a folder that is not ours alone
  std::optional<FileLock> best_lock_;
  std::optional<data::Loader> loader_;
  int64_t total_steps_ = 0;

  std::optional<Fp32Network> net_;
  std::optional<optim::Sgd> sgd_;
  RunState state_;
  double train_seconds_ = 0, train_images_per_s_ = 0;  // of the newest epoch
  bool trained_ = false;                               // an epoch, in this process
};

// Of options that something else decides.
void require_effect(const TrainOptions& o) {
  if (o.recipe == "fast" && o.schedule) throw ValueError("--schedule: --recipe fast has its own");
  if (o.warmup && (o.recipe == "fast" || o.schedule.value_or(kSchedule) != kSchedule))
    throw ValueError("--warmup: goes with the schedule 'cosine' alone");
}

}  // namespace

void train(const TrainOptions& given) {
  require_effect(given);
  TrainOptions o = given;
  if (o.early_stop > 0 && o.val_split == 0) o.val_split = kImplicitValSplit;
  const Device device = apply(o);
  require_own_files(o);
  require_same_network(o.out, architecture(o.arch).title);
  data::Dataset train_set = open_data(o, data::Split::train, o.limit_train);
  if (o.minutes) fit_to_time(o, device, train_set);
  if (o.warmup && !(*o.warmup < double(o.epochs)))
    throw ValueError(message("--warmup ", *o.warmup, ": must end before the ", o.epochs, " epochs of the run do"));
  Trainer(o, device, std::move(train_set)).run();
}

}  // namespace cifar_resnet
