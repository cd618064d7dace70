// The live page of a training run: what the run tells its listeners, and what the network makes of a few test images.
#pragma once

#include <optional>
#include <string>

#include "core/stopwatch.h"
#include "data/dataset.h"
#include "examples/cifar_resnet/live_feed.h"
#include "examples/cifar_resnet/network.h"
#include "examples/cifar_resnet/serve.h"
#include "examples/cifar_resnet/training_listener.h"

namespace cifar_resnet {

// Members are called by the thread that trains. None waits for a visitor, and a fault of what is shown ends no run.
class LiveView final : public TrainingListener {
 public:
  // Throws ValueError as LiveServer does.
  LiveView(const std::string& address, const mininn::data::Dataset& test_set);
  ~LiveView() override;

  const std::string& url() const { return server_->url(); }

  void begin(const RunPlan& plan, std::span<const EpochResult> history) override;
  void step(const StepResult& s) override;
  void epoch(const EpochResult& e) override;
  void batch(int64_t step) override;
  void end() override;

 private:
  // Shows what the network makes of the images now: in evaluation mode, which leaves it as it was.
  void show(int64_t step);
  // Does so if anybody watches, until it fails once.
  void look(int64_t step);
  void look_if_worthwhile(int64_t step);

  mininn::data::Dataset images_;
  RunPlan plan_;
  int64_t step_ = 0;
  mininn::Stopwatch since_begin_;
  std::optional<mininn::Stopwatch> since_progress_, since_look_;
  double look_seconds_ = 0;
  bool blind_ = false, finished_ = false;
  LiveFeed feed_;
  std::optional<LiveServer> server_;
};

}  // namespace cifar_resnet
