#include "examples/cifar_resnet/live_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/autograd.h"
#include "data/augment.h"
#include "examples/cifar_resnet/results.h"
#include "ops/softmax.h"

namespace cifar_resnet {

using namespace mininn;
using nlohmann::json;

namespace {

constexpr size_t kImages = 8;
constexpr int64_t kMostChannels = 32;  // that are shown of a layer
constexpr double kProgressSeconds = 0.5;
// Looking takes at most this share of the time.
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

// The first channels of an image's maps as bytes, one plane after the other, each from its least to its greatest value.
std::string bytes_of(std::span<const double> maps, int64_t channels, int64_t plane) {
  std::string out;
  out.reserve(size_t(channels * plane));
  for (int64_t c = 0; c < channels; ++c) {
    const auto map = maps.subspan(size_t(c * plane), size_t(plane));
    const auto [least, most] = std::minmax_element(map.begin(), map.end());
    const double scale = 255 / std::max(*most - *least, 1e-12);
    for (const double v : map) {
      const double byte = (v - *least) * scale + 0.5;
      out += char(byte >= 0 && byte < 256 ? uint8_t(byte) : 0);  // a network on its way to NaN is shown, too
    }
  }
  return out;
}

}  // namespace

LiveView::LiveView(const std::string& address, const data::Dataset& test_set) : images_(some_of(test_set)) {
  const auto pixels = images_.images.data<uint8_t>();
  feed_.put("images", std::string(pixels.begin(), pixels.end()));
  server_.emplace(address, feed_);
}

LiveView::~LiveView() { feed_.publish("end", json{{"step", step_}}.dump()); }

void LiveView::begin(const RunPlan& plan, std::span<const EpochResult> history) {
  plan_ = plan;
  step_ = plan.first_step;
  since_begin_ = {};
  const auto labels = images_.labels.data<int64_t>();
  feed_.publish("run", json{{"title", plan.title},
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
  if (e.epoch == plan_.epochs)
    look(e.step);
  else
    look_if_worthwhile(e.step);
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
  if (feed_.readers > 0 && (!since_look_ || since_look_->seconds() > pause)) look(step);
}

void LiveView::look(int64_t step) {
  const Stopwatch watch;
  const NoGradGuard no_grad;
  Fp32Network& net = *plan_.network;
  const bool training = net.params.training();
  net.params.train(false);
  const Tensor x = data::normalize(images_.images).to(net.params.device());
  const std::vector<double> probabilities = softmax((*net.model)(x), 1).to_vector();
  const std::vector<Tensor> maps = net.model->feature_maps(x);
  net.params.train(training);

  const int64_t n = images_.size(), classes = int64_t(images_.classes.size());
  json layers = json::array(), predictions = json::array();
  for (size_t l = 0; l < maps.size(); ++l) {
    const int64_t channels = maps[l].size(1), shown = std::min(channels, kMostChannels);
    const int64_t plane = maps[l].size(2) * maps[l].size(3);
    const std::string name = l == 0 ? "stem" : "layer" + std::to_string(l);
    const std::vector<double> values = maps[l].to_vector();
    for (int64_t i = 0; i < n; ++i)
      feed_.put(message("maps/", name, '/', i),
                bytes_of(std::span(values).subspan(size_t(i * channels * plane)), shown, plane));
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
  look_seconds_ = watch.seconds();
  since_look_.emplace();
}

}  // namespace cifar_resnet
