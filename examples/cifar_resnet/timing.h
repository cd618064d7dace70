// Timing several functions against each other: they take turns, so a machine that slows down slows all of them.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace cifar_resnet {

struct Timing {
  std::vector<double> ms;  // per call, sorted
  double quantile(double q) const;
  double median() const { return quantile(0.5); }
};

// Calls each function a few times to warm up, then all of them in turn until `seconds` have passed (at least 5 rounds).
std::vector<Timing> time_interleaved(std::span<const std::function<void()>> functions, double seconds);

// Highest resident memory of this process so far.
double peak_rss_mib();

}  // namespace cifar_resnet
