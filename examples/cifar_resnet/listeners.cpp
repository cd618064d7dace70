#include "examples/cifar_resnet/listeners.h"

#include <cstdio>

#include "examples/cifar_resnet/event_file.h"
#include "examples/cifar_resnet/live_view.h"
#include "examples/cifar_resnet/results.h"

namespace cifar_resnet {

Listeners::Listeners(const TrainOptions& o, const mininn::data::Dataset& test_set) {
  all_.push_back(std::make_unique<MetricsLog>(o.out / kMetricsFile));
  if (!o.tensorboard.empty()) all_.push_back(std::make_unique<EventFile>(o.tensorboard));
  if (o.serve) {
    auto view = std::make_unique<LiveView>(*o.serve, test_set);
    std::printf("live page: %s\n", view->url().c_str());
    all_.push_back(std::move(view));
  }
}

void Listeners::begin(const RunPlan& plan, std::span<const EpochResult> history) {
  for (const auto& listener : all_) listener->begin(plan, history);
}

void Listeners::batch(int64_t step) {
  for (const auto& listener : all_) listener->batch(step);
}

void Listeners::step(const StepResult& s) {
  for (const auto& listener : all_) listener->step(s);
}

void Listeners::epoch(const EpochResult& e) {
  for (const auto& listener : all_) listener->epoch(e);
}

void Listeners::end() {
  for (const auto& listener : all_) listener->end();
}

}  // namespace cifar_resnet
