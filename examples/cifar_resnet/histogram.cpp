#include "examples/cifar_resnet/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace cifar_resnet {

namespace {

constexpr double kBins = 80;

void count(Histogram& h, std::span<const double> values) {
  const auto bins = double(h.counts.size());
  for (const double v : values)
    if (std::isfinite(v)) ++h.counts[size_t(std::clamp((v - h.lo) / (h.hi - h.lo) * bins, 0.0, bins - 1))];
}

}  // namespace

BeforeAfter before_after(const std::string& name, std::span<const double> before, std::span<const double> after,
                         double step) {
  Histogram h{.lo = std::numeric_limits<double>::infinity(), .hi = -h.lo, .counts = {}};
  for (const double v : before)
    if (std::isfinite(v)) h.lo = std::min(h.lo, v), h.hi = std::max(h.hi, v);
  if (h.lo > h.hi) throw mininn::ValueError(mininn::message(name, ": no value is finite"));
  h.hi = std::max(h.hi, h.lo + 1e-9 * std::max(std::abs(h.lo), 1.0));
  double bins = kBins;
  if (step > 0) {
    const double first = std::round(h.lo / step), codes = std::round(h.hi / step) - first + 1;
    const double per_bin = std::ceil(codes / kBins);
    bins = std::ceil(codes / per_bin);
    h.lo = (first - 0.5) * step;
    h.hi = h.lo + bins * per_bin * step;
  }
  h.counts.resize(size_t(bins));
  BeforeAfter both{name, h, h};
  count(both.before, before);
  count(both.after, after);
  return both;
}

}  // namespace cifar_resnet
