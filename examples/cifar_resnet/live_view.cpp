#include "examples/cifar_resnet/live_view.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "core/autograd.h"
#include "data/augment.h"
#include "examples/cifar_resnet/feature_maps.h"
#include "examples/cifar_resnet/results.h"
#include "ops/layout.h"
#include "ops/softmax.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr size_t kImages = 8;
constexpr int64_t kMostChannels = 32;  // that are shown of a layer
constexpr double kProgressSeconds = 0.5;
// Looking takes at most this share of the time, but for the last look.
constexpr double kLookShare = 0.02, kLeastLookSeconds = 1;

// The first image of each class.
data::Dataset some_of(const data::Dataset& set) {
  std::vector<int64_t> indices;
  std::set<int64_t> seen;
  const auto labels = set.labels.data<int64_t>();
  for (int64_t i = 0; i < set.size() && indices.size() < kImages; ++i)
    if (seen.insert(labels[size_t(i)]).second) indices.push_back(i);
  return set.subset(indices);
}

}  // namespace

LiveView::LiveView(const std::string& address, const data::Dataset& test_set) : images_(some_of(test_set)) {
  const auto pixels = images_.images.data<uint8_t>();
  feed_.put("images", std::string(pixels.begin(), pixels.end()));
  server_.emplace(address, feed_);
}

LiveView::~LiveView() { feed_.publish("end", json{{"step", step_}, {"finished", finished_}}.dump()); }

void LiveView::begin(const RunPlan& plan, std::span<const EpochResult> history) {
  plan_ = plan;
  step_ = plan.first_step;
  since_begin_ = {};
  const auto labels = images_.labels.data<int64_t>();
  feed_.publish("run", json{{"title", plan.network->architecture->title},
                            {"epochs", plan.epochs},
                            {"steps_per_epoch", plan.steps_per_epoch},
                            {"first_step", plan.first_step},
                            {"classes", images_.classes},
                            {"truths", std::vector<int64_t>(labels.begin(), labels.end())},
                            {"height", images_.images.size(2)},
                            {"width", images_.images.size(3)}}
                           .dump());
  for (const EpochResult& e : history) feed_.publish("epoch", to_json(e).dump());
}

void LiveView::step(const StepResult& s) { feed_.publish("step", to_json(s).dump()); }

void LiveView::epoch(const EpochResult& e) {
  feed_.publish("epoch", to_json(e).dump());
  look_if_worthwhile(e.step);
}

void LiveView::end() {
  finished_ = true;
  look(step_);
}

void LiveView::batch(int64_t step) {
  step_ = step;
  if (!since_progress_ || since_progress_->seconds() > kProgressSeconds) {
    const double seconds = since_begin_.seconds();
    const double each = seconds / double(std::max<int64_t>(step - plan_.first_step, 1));
    const int64_t steps = plan_.epochs * plan_.steps_per_epoch;
    feed_.publish("progress",
                  json{{"step", step}, {"seconds", seconds}, {"seconds_left", each * double(steps - step)}}.dump(),
                  LiveFeed::Keep::newest);
    since_progress_.emplace();
  }
  look_if_worthwhile(step);
}

void LiveView::look_if_worthwhile(int64_t step) {
  const double pause = std::max(kLeastLookSeconds, look_seconds_ / kLookShare);
  if (!since_look_ || since_look_->seconds() > pause) look(step);
}

void LiveView::look(int64_t step) {
  if (feed_.readers == 0 || blind_) return;
  try {
    const Stopwatch watch;
    show(step);
    look_seconds_ = watch.seconds();
    since_look_.emplace();
  } catch (const std::exception& e) {  // the training can do without
    blind_ = true;
    std::fprintf(stderr, "\nlive page: no more test images and feature maps: %s\n", e.what());
  }
}

void LiveView::show(int64_t step) {
  std::vector<double> probabilities;
  std::vector<Tensor> maps;
  {
    const NoGradGuard no_grad;
    Fp32Network& net = *plan_.network;
    const EvalMode eval_mode(net.params);
    const Tensor x = data::normalize(images_.images.to(net.params.device()));
    probabilities = softmax(net.model->forward(x, &maps), 1).to_vector();
  }
  const int64_t n = images_.size(), classes = int64_t(images_.classes.size());
  json layers = json::array(), predictions = json::array();
  for (size_t l = 0; l < maps.size(); ++l) {
    const int64_t channels = maps[l].size(1), shown = std::min(channels, kMostChannels);
    const std::string name = layer_name(l);
    for (int64_t i = 0; i < n; ++i) {
      std::string planes;
      for (const auto& bytes : channel_bytes(slice(maps[l], 0, i, i + 1), shown))
        planes.append(bytes.begin(), bytes.end());
      feed_.put(message("maps/", name, '/', i), std::move(planes));
    }
    layers.push_back({{"name", name},
                      {"channels", channels},
                      {"shown", shown},
                      {"height", maps[l].size(2)},
                      {"width", maps[l].size(3)}});
  }
  for (int64_t i = 0; i < n; ++i) {
    const auto row = probabilities.begin() + i * classes;
    predictions.push_back(std::vector<double>(row, row + classes));
  }
  feed_.publish("samples", json{{"step", step}, {"layers", layers}, {"probabilities", predictions}}.dump(),
                LiveFeed::Keep::newest);
}

}  // namespace cifar_resnet
