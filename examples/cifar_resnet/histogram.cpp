#include "examples/cifar_resnet/histogram.h"

#include <algorithm>
#include <cmath>

namespace cifar_resnet {

namespace {

constexpr double kBins = 80;

void count(Histogram& h, std::span<const double> values) {
  const auto bins = double(h.counts.size());
  for (const double v : values) ++h.counts[size_t(std::clamp((v - h.lo) / (h.hi - h.lo) * bins, 0.0, bins - 1))];
}

}  // namespace

BeforeAfter before_after(const std::string& name, std::span<const double> before, std::span<const double> after,
                         double step) {
  const auto [least, most] = std::minmax_element(before.begin(), before.end());
  Histogram h{.lo = *least, .hi = std::max(*most, *least + 1e-9 * std::max(std::abs(*least), 1.0)), .counts = {}};
  double bins = kBins;
  if (step > 0) {
    const double first = std::round(h.lo / step), last = std::round(h.hi / step);
    const double per_bin = std::ceil((last - first + 1) / kBins);
    bins = std::ceil((last - first + 1) / per_bin);
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
