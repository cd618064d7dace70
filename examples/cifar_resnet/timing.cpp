#include "examples/cifar_resnet/timing.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "core/file.h"
#include "core/stopwatch.h"

namespace cifar_resnet {

namespace {

std::optional<int64_t> number_in(const std::filesystem::path& file) {
  const std::string text = mininn::read_file(file);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && value >= 0 ? std::optional(value) : std::nullopt;
}

}  // namespace

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

EnergyMeter::EnergyMeter(const std::filesystem::path& folder) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    // "intel-rapl:0" is a processor, "intel-rapl:0:1" a part of it.
    if (!name.starts_with("intel-rapl:") || std::count(name.begin(), name.end(), ':') != 1) continue;
    const auto range = number_in(entry.path() / "max_energy_range_uj"), now = number_in(entry.path() / "energy_uj");
    if (range && now) packages_.push_back({entry.path() / "energy_uj", *range, *now});
  }
}

std::optional<double> EnergyMeter::joules() {
  int64_t sum = 0;
  for (Package& p : packages_) {
    const auto now = number_in(p.counter);
    if (!now) return {};
    sum += *now - p.last + (*now < p.last ? p.range : 0);
    p.last = *now;
  }
  return packages_.empty() ? std::nullopt : std::optional(double(sum) * 1e-6);
}

}  // namespace cifar_resnet
