#include "quant/grid/observer.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <mutex>

#include "core/parallel.h"

namespace mininn::quant {
namespace {

constexpr int64_t kGrain = 1 << 16;  // values per thread below which a second thread costs more than it helps

// The magnitude at which bin `b` of float_counts() begins.
double float_edge(size_t b) { return double(std::bit_cast<float>(uint32_t(b & 0x7fff) << 16)); }

// The squared error of clipping and rounding to the grid of a range, summed over all values. Rounding to steps makes an
// error of step^2/12 on average, and near zero of the value itself.
double noise(const Histogram& h, const Range& r) {
  const double step = (r.hi - r.lo) / 255;
  double sum = 0;
  for (size_t b = 0; b < Histogram::kFloatBins; ++b) {
    if (h.float_counts()[b] == 0) continue;
    const double magnitude = (float_edge(b) + float_edge(b + 1)) / 2;
    const double x = std::clamp(b & 0x8000 ? -magnitude : magnitude, h.lo(), h.hi());
    const double clipping = x - std::clamp(x, r.lo, r.hi), rounding = std::min(std::abs(x), step / std::sqrt(12.0));
    sum += double(h.float_counts()[b]) * std::max(clipping * clipping, rounding * rounding);
  }
  return sum;
}

// The same from the equal bins, whose values stand at position(bin), rounded on the very grid that the range gives.
double grid_noise(const Histogram& h, const Range& r, const auto& position) {
  const double step = (r.hi - r.lo) / 255, zero = std::nearbyint(-r.lo / step);
  double sum = 0;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    if (h.counts()[i] == 0) continue;
    const double x = position(int(i));
    const double code = std::clamp(std::nearbyint(x / step) + zero, 0.0, 255.0);
    const double e = x - step * (code - zero);
    sum += double(h.counts()[i]) * e * e;
  }
  return sum;
}

// `chosen`, or the widest range if that makes less than 1/most of its squared error; less than 1/most_on_grid where the
// equal bins tell where values are.
Range guarded(const Histogram& h, const Range& chosen, double most, double most_on_grid) {
  const Range widest{h.lo(), h.hi()};
  const auto mean = [&](int bin) { return h.mean(bin); };
  const bool costly = noise(h, chosen) > most * noise(h, widest) ||
                      grid_noise(h, chosen, mean) > most_on_grid * grid_noise(h, widest, mean);
  return costly ? widest : chosen;
}

// Mean squared errors of all candidate ranges in constant time each, from prefix sums over the bins (values stand at
// their bin's centre).
class ErrorModel {
 public:
  explicit ErrorModel(const Histogram& h) {
    const size_t bins = h.counts().size();
    n_.resize(bins + 1);
    x_.resize(bins + 1);
    xx_.resize(bins + 1);
    for (size_t i = 0; i < bins; ++i) {
      const double n = double(h.counts()[i]), c = h.center(int(i));
      n_[i + 1] = n_[i] + n;
      x_[i + 1] = x_[i] + n * c;
      xx_[i + 1] = xx_[i] + n * c * c;
    }
  }

  // Values in bins [first, last) are rounded to a step of (hi - lo)/255, the others clipped to lo or hi.
  double operator()(int first, int last, double lo, double hi) const {
    const double step = (hi - lo) / 255;
    return step * step / 12 * (n_[size_t(last)] - n_[size_t(first)]) + clip(0, first, lo) +
           clip(last, int(n_.size()) - 1, hi);
  }

 private:
  double clip(int first, int last, double to) const {
    const size_t a = size_t(first), b = size_t(last);
    return (xx_[b] - xx_[a]) - 2 * to * (x_[b] - x_[a]) + to * to * (n_[b] - n_[a]);
  }

  std::vector<double> n_, x_, xx_;
};

Range mse_range(const Histogram& h) {
  struct Candidate {
    double error, lo, hi;
  };
  constexpr size_t kRefined = 8;
  const ErrorModel error(h);
  const int bins = int(h.counts().size());
  const auto edge = [&](int i) { return i == bins ? h.hi() : h.lo() + i * h.bin_width(); };
  std::vector<Candidate> best;  // ascending
  const auto consider = [&](int first, int last, double lo, double hi) {
    const Candidate c{error(first, last, lo, hi), lo, hi};
    if (best.size() == kRefined && c.error >= best.back().error) return;
    best.insert(std::upper_bound(best.begin(), best.end(), c,
                                 [](const Candidate& a, const Candidate& b) { return a.error < b.error; }),
                c);
    if (best.size() > kRefined) best.pop_back();
  };
  // Bounds lie on bin edges and zero is always inside. All pairs are tried: there are at most (bins/2)^2.
  const int zero = int(std::clamp(std::floor(-h.lo() / h.bin_width()), 0.0, double(bins)));
  for (int first = 0; first <= zero; ++first)
    for (int last = std::max(zero, first + 1); last <= bins; ++last) {
      const double lo = std::min(edge(first), 0.0), hi = std::max(edge(last), 0.0);
      if (hi > lo) consider(first, last, lo, hi);
    }
  best.push_back({0, h.lo(), h.hi()});  // clipping nothing is always a candidate
  const auto exact = [&](const Candidate& c) {
    return grid_noise(h, {c.lo, c.hi}, [&](int bin) { return h.center(bin); });
  };
  const auto least = std::min_element(best.begin(), best.end(),
                                      [&](const Candidate& a, const Candidate& b) { return exact(a) < exact(b); });
  return {least->lo, least->hi};
}

// Counts of |x| in as many bins over [0, max(-lo, hi)].
std::vector<double> absolute(const Histogram& h) {
  const double top = std::max(-h.lo(), h.hi());
  std::vector<double> counts(h.counts().size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto bin = size_t(std::abs(h.center(int(i))) / top * double(counts.size()));
    counts[std::min(bin, counts.size() - 1)] += double(h.counts()[i]);
  }
  return counts;
}

Range symmetric_clip(const Histogram& h, double threshold) {
  return {std::max(h.lo(), -threshold), std::min(h.hi(), threshold)};
}

// How many of the first bins hold `wanted` values.
size_t bins_with(const std::vector<double>& counts, double wanted) {
  double sum = 0;
  size_t n = 0;
  while (n < counts.size() && sum < wanted) sum += counts[n++];
  return n;
}

Range percentile_range(const Histogram& h, double percent) {
  constexpr size_t kFine = 128;  // from this bin on the equal bins are narrower than those of floats
  const double wanted = double(h.total()) * percent / 100;
  const std::vector<double> counts = absolute(h);
  if (const size_t n = bins_with(counts, wanted); n >= kFine)
    return symmetric_clip(h, double(n) * (std::max(-h.lo(), h.hi()) / double(counts.size())));
  std::vector<double> magnitudes(Histogram::kFloatBins / 2);
  for (size_t b = 0; b < Histogram::kFloatBins; ++b) magnitudes[b & 0x7fff] += double(h.float_counts()[b]);
  return symmetric_clip(h, float_edge(bins_with(magnitudes, wanted)));
}

Range kl_range(const Histogram& h) {
  const std::vector<double> counts = absolute(h);
  const double width = std::max(-h.lo(), h.hi()) / double(counts.size());
  const size_t levels = h.lo() < 0 ? 128 : 256;  // of |x| on the u8 grid
  double best = std::numeric_limits<double>::infinity();
  size_t best_t = counts.size();
  std::vector<double> q;
  for (size_t t = levels; t <= counts.size(); ++t) {
    double tail = 0, total = 0;
    for (size_t i = t; i < counts.size(); ++i) tail += counts[i];
    for (const double c : counts) total += c;
    q.assign(t, 0);
    for (size_t level = 0; level < levels; ++level) {
      const size_t begin = level * t / levels, end = (level + 1) * t / levels;
      double sum = 0, filled = 0;
      for (size_t i = begin; i < end; ++i) {
        sum += counts[i];
        filled += counts[i] > 0;
      }
      for (size_t i = begin; i < end; ++i)
        if (counts[i] > 0) q[i] = sum / filled;
    }
    const double inside = total - tail;
    if (inside <= 0) continue;
    double divergence = 0;
    for (size_t i = 0; i < t; ++i) {
      const double p = (counts[i] + (i + 1 == t ? tail : 0)) / total;
      if (p > 0) divergence += p * std::log(p / std::max(q[i] / inside, 1e-4 / total));
    }
    if (divergence < best) {
      best = divergence;
      best_t = t;
    }
  }
  return symmetric_clip(h, double(best_t) * width);
}

void add(std::vector<uint64_t>& to, const std::vector<uint64_t>& counts) {
  for (size_t b = 0; b < counts.size(); ++b) to[b] += counts[b];
}

// Maps floats to integers in the same order, with NaN outside the infinities: minimum and maximum of the keys are
// vector instructions, and both bounds and the check for finite values follow from them.
int32_t ordered_key(float f) {
  const auto bits = std::bit_cast<int32_t>(f);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
float from_key(int32_t key) { return std::bit_cast<float>(key ^ ((key >> 31) & 0x7fffffff)); }

// So that it parses back to the same number.
std::string shortest(double v) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

}  // namespace

void MinMax::observe(const Tensor& x, std::string_view name) {
  const std::span<const float> v = x.data<float>();
  if (v.empty()) return;
  std::mutex mutex;
  int32_t lowest = std::numeric_limits<int32_t>::max(), highest = std::numeric_limits<int32_t>::min();
  parallel_for(int64_t(v.size()), kGrain, [&](int64_t begin, int64_t end) {
    int32_t lo = std::numeric_limits<int32_t>::max(), hi = std::numeric_limits<int32_t>::min();
    for (int64_t i = begin; i < end; ++i) {
      const int32_t key = ordered_key(v[size_t(i)]);
      lo = std::min(lo, key);
      hi = std::max(hi, key);
    }
    const std::lock_guard lock(mutex);
    lowest = std::min(lowest, lo);
    highest = std::max(highest, hi);
  });
  if (!std::isfinite(from_key(lowest)) || !std::isfinite(from_key(highest)))
    throw ValueError(message("calibration: ", name, ' ', x.shape(), " holds NaN or infinite values"));
  min_ = std::min(min_, from_key(lowest));
  max_ = std::max(max_, from_key(highest));
}

void MinMax::merge(const MinMax& o) {
  min_ = std::min(min_, o.min_);
  max_ = std::max(max_, o.max_);
}

Histogram::Histogram(float lo, float hi, int bins) : lo_(std::min(lo, 0.0f)), hi_(std::max(hi, 0.0f)) {
  if (!std::isfinite(lo) || !std::isfinite(hi) || bins < 1 || bins > kMaxBins)
    throw ValueError(message("a histogram of ", bins, " bins over [", lo, ", ", hi, "]"));
  counts_.resize(size_t(bins));
  places_.resize(size_t(bins));
  float_counts_.resize(kFloatBins);
}

void Histogram::observe(const Tensor& x) {
  if (counts_.empty()) throw ValueError("a histogram without bins cannot count");
  MinMax().observe(x, "a histogram's input");  // throws for what belongs to no bin
  const std::span<const float> v = x.data<float>();
  const double scale = hi_ > lo_ ? 1 / bin_width() : 0, bins = double(counts_.size());
  std::mutex mutex;
  parallel_for(int64_t(v.size()), kGrain, [&](int64_t begin, int64_t end) {
    std::vector<uint64_t> counts(counts_.size()), places(counts_.size()), float_counts(kFloatBins);
    uint64_t zeros = 0;
    for (int64_t i = begin; i < end; ++i) {
      const float f = v[size_t(i)];
      if (f == 0) {
        ++zeros;
        continue;
      }
      const double at = std::clamp((double(f) - double(lo_)) * scale, 0.0, bins);
      const size_t bin = std::min(size_t(at), counts.size() - 1);
      ++counts[bin];
      places[bin] += uint64_t((at - double(bin)) * kPlaces + 0.5);
      ++float_counts[std::bit_cast<uint32_t>(f) >> 16];
    }
    const std::lock_guard lock(mutex);
    zeros_ += zeros;
    add(counts_, counts);
    add(places_, places);
    add(float_counts_, float_counts);
  });
}

void Histogram::merge(const Histogram& o) {
  if (lo_ != o.lo_ || hi_ != o.hi_ || counts_.size() != o.counts_.size())
    throw ValueError(message("histograms over [", lo_, ", ", hi_, "] and [", o.lo_, ", ", o.hi_, "] cannot be merged"));
  add(counts_, o.counts_);
  add(places_, o.places_);
  add(float_counts_, o.float_counts_);
  zeros_ += o.zeros_;
}

double Histogram::mean(int bin) const {
  if (bin < 0 || size_t(bin) >= counts_.size())
    throw ValueError(message("a histogram of ", counts_.size(), " bins has no bin ", bin));
  const auto n = double(counts_[size_t(bin)]);
  const double place = n > 0 ? double(places_[size_t(bin)]) / (n * kPlaces) : 0.5;
  return double(lo_) + (bin + place) * bin_width();
}

uint64_t Histogram::total() const {
  uint64_t n = 0;
  for (const uint64_t c : counts_) n += c;
  return n;
}

void ObserverOptions::check() const {
  if (int(kind) < 0 || kind > ObserverKind::kl) throw ValueError(message("there is no observer ", int(kind)));
  if (kind == ObserverKind::percentile && !(percentile > 0 && percentile <= 100))
    throw ValueError(message("percentile ", percentile, " is not in (0, 100]"));
}

ObserverOptions percentile(double p) {
  const ObserverOptions o{ObserverKind::percentile, p};
  o.check();
  return o;
}

std::string to_string(const ObserverOptions& o) {
  switch (o.kind) {
    case ObserverKind::minmax: return "minmax";
    case ObserverKind::histogram_mse: return "mse";
    case ObserverKind::percentile: return "percentile:" + shortest(o.percentile);
    case ObserverKind::kl: return "kl";
  }
  return "?";
}

ObserverOptions parse_observer(std::string_view text) {
  if (text == "minmax") return minmax();
  if (text == "mse") return histogram_mse();
  if (text == "kl") return kl();
  if (text == "percentile") return percentile();
  constexpr std::string_view kPrefix = "percentile:";
  if (text.starts_with(kPrefix)) {
    double p = 0;
    const char* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + kPrefix.size(), last, p);
    if (error == std::errc() && end == last) return percentile(p);
  }
  throw ValueError(message("observer '", excerpt(text), "' is none of minmax, mse, kl, percentile, percentile:P"));
}

Range choose_range(const Histogram& h, const ObserverOptions& o) {
  o.check();
  if (h.total() == 0) return {0, 0};
  switch (o.kind) {
    case ObserverKind::minmax: return {h.lo(), h.hi()};
    case ObserverKind::histogram_mse: return guarded(h, mse_range(h), 4, 1);  // 4: never where its bins are accurate
    case ObserverKind::percentile: return percentile_range(h, o.percentile);
    case ObserverKind::kl: return guarded(h, kl_range(h), 100, 100);
  }
  return {h.lo(), h.hi()};
}

}  // namespace mininn::quant
