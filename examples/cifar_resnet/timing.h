// Timing several functions against each other: they take turns, so a machine that slows down slows all of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
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

// What the processors take, by the counters that Linux keeps of Intel's and AMD's (RAPL). Root alone may read them, and
// virtual machines have none.
class EnergyMeter {
 public:
  explicit EnergyMeter(const std::filesystem::path& folder = "/sys/class/powercap");
  // Joules since the last call, or since the meter was made; no value where they cannot be read.
  std::optional<double> joules();

 private:
  struct Package {
    std::filesystem::path counter;
    int64_t range, last;  // microjoules; the counter starts anew behind its range
  };
  std::vector<Package> packages_;
};

}  // namespace cifar_resnet
