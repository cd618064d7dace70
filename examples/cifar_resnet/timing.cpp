#include "examples/cifar_resnet/timing.h"

#include <sys/resource.h>

#include <algorithm>

#include "core/stopwatch.h"

namespace cifar_resnet {

double Timing::quantile(double q) const { return ms.at(std::min(size_t(q * double(ms.size())), ms.size() - 1)); }

std::vector<Timing> time_interleaved(std::span<const std::function<void()>> functions, double seconds) {
  constexpr int kWarmUp = 3, kLeast = 5;
  std::vector<Timing> timings(functions.size());
  for (const auto& f : functions)
    for (int i = 0; i < kWarmUp; ++i) f();
  const mininn::Stopwatch all;
  for (int round = 0; round < kLeast || all.seconds() < seconds; ++round)
    for (size_t i = 0; i < functions.size(); ++i) {
      const mininn::Stopwatch call;
      functions[i]();
      timings[i].ms.push_back(call.ms());
    }
  for (Timing& t : timings) std::sort(t.ms.begin(), t.ms.end());
  return timings;
}

double peak_rss_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_maxrss) / 1024;  // Linux counts KiB
}

}  // namespace cifar_resnet
