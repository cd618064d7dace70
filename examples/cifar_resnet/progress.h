// What the user watches while a long run works: a bar that redraws itself on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "core/stopwatch.h"

namespace cifar_resnet {

// One pass over a known number of images (an epoch, an evaluation, a calibration).
class Progress {
 public:
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // such a value is not shown
  struct Values {
    double loss = kUnknown;
    double accuracy = kUnknown;  // fraction of 1
    double lr = kUnknown;
  };

  // `label` stands in front ("epoch 3/50"). `images_after` are images that follow this pass in the same run (the other
  // epochs), for the total time left. Draws on standard output: as a bar at most 10 times a second if that is a
  // terminal, else as a line at most every 5 seconds.
  Progress(std::string label, int64_t images, int64_t images_after = 0);
  // On `out`, as a bar of `columns` characters, or as lines where there is no value.
  Progress(std::string label, int64_t images, int64_t images_after, std::ostream& out, std::optional<int> columns);
  ~Progress();  // leaves no half-drawn bar behind
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` of the images were through before: the speed is that of the others.
  void begin_at(int64_t done) { begun_ = done_ = done; }
  // `done` of the images are through. Costs next to nothing while it is too early to draw.
  void update(int64_t done, const Values& v);
  void update(int64_t done) { update(done, Values{}); }
  // Replaces the bar by one final line: label, the text, images/s, time taken.
  void finish(std::string_view text);

  double seconds() const { return since_start_.seconds(); }  // since construction
  double images_per_second() const;                          // over the images that were done since

 private:
  std::string line(const Values& v, int columns) const;

  std::string label_;
  int64_t images_, images_after_, begun_ = 0, done_ = 0;
  std::ostream& out_;
  std::optional<int> columns_;
  mininn::Stopwatch since_start_, since_drawn_;
  bool drawn_ = false;
};

// "4.2 s", "3 min 20 s", "1 h 05 min".
std::string format_seconds(double seconds);

}  // namespace cifar_resnet
