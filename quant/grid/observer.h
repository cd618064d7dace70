// Observers: what values an activation takes, and the u8 grid that serves them best.
//
// Two passes over the calibration data: the first finds the range, the second counts. Minimum, maximum and counts are
// associative and commutative, so neither the batch split nor the order nor the number of threads changes a scale.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/qparams.h"
#include "core/tensor.h"

namespace mininn::quant {

// First pass: the range.
class MinMax {
 public:
  // f32, dense. Throws ValueError naming `name` if a value is NaN or infinite.
  void observe(const Tensor& x, std::string_view name);
  void merge(const MinMax& o);

  bool empty() const { return min_ > max_; }
  float min() const { return min_; }
  float max() const { return max_; }

 private:
  float min_ = std::numeric_limits<float>::infinity(), max_ = -std::numeric_limits<float>::infinity();
};

// Second pass: how often values fall into each of `bins` equal bins over [min(lo,0), max(hi,0)]. Exact zeros are
// counted apart: every grid represents them without error, and after a ReLU they would drown everything else. Far
// outliers leave all other values in one such bin, so values are counted in bins of a relative width as well. Where in
// a bin its values lie, on average, tells a few values (a constant, two modes) from many that fill it.
class Histogram {
 public:
  static constexpr int kBins = 2048;
  static constexpr size_t kFloatBins = 1 << 16;
  static constexpr int kPlaces = 1 << 16;
  static constexpr int kMaxBins = 1 << 16;  // choosing a range may try all pairs of edges

  Histogram() = default;  // without bins: it counts nothing
  // Throws ValueError for bounds that are not finite and less than one bin or more than kMaxBins.
  Histogram(float lo, float hi, int bins = kBins);

  // f32, dense. Values outside the range count in the first or last bin. Throws ValueError, and counts nothing, without
  // bins or if a value is NaN or infinite.
  void observe(const Tensor& x);
  // Throws ValueError unless both have the same range and bins.
  void merge(const Histogram& o);

  double lo() const { return lo_; }
  double hi() const { return hi_; }
  double bin_width() const { return (double(hi_) - double(lo_)) / double(counts_.size()); }
  double center(int bin) const { return double(lo_) + (bin + 0.5) * bin_width(); }
  // Where its values lie, on average; the centre of an empty bin. Throws ValueError for a bin that does not exist.
  double mean(int bin) const;
  const std::vector<uint64_t>& counts() const { return counts_; }
  // By the first 16 bits of a value's float (sign, exponent, 7 bits of the fraction): bins as wide as 1/128 of their
  // values or less.
  const std::vector<uint64_t>& float_counts() const { return float_counts_; }
  uint64_t zeros() const { return zeros_; }
  uint64_t total() const;  // without the zeros

 private:
  float lo_ = 0, hi_ = 0;
  std::vector<uint64_t> counts_, float_counts_;
  std::vector<uint64_t> places_;  // of a bin's values between its edges, added up in steps of 1/kPlaces of its width
  uint64_t zeros_ = 0;
};

enum class ObserverKind { minmax, histogram_mse, percentile, kl };

struct ObserverOptions {
  ObserverKind kind = ObserverKind::histogram_mse;
  double percentile = 99.999;  // of the absolute values that are not zero

  // Throws ValueError for a number that is no kind, and a percentile outside (0, 100] if it is used.
  void check() const;
};

// The widest range seen.
inline ObserverOptions minmax() { return {ObserverKind::minmax}; }
// The range with the smallest mean squared error of clipping and rounding together; never one with a larger error than
// that of the widest range (but for 0.2 dB that a histogram of so many bins does not see).
inline ObserverOptions histogram_mse() { return {ObserverKind::histogram_mse}; }
// The smallest |x| <= T that holds `p` percent of the non-zero values, to within 1/128 of T, whatever the others are.
// Throws ValueError unless 0 < p <= 100.
ObserverOptions percentile(double p = 99.999);
// The T whose quantized distribution diverges least from the true one (Migacz 2017, TensorRT's calibrator). A
// divergence does not see how far away a clipped value lies, nor that few values may fit their grid well: where the T
// costs more than 20 dB against the widest range, it is that.
inline ObserverOptions kl() { return {ObserverKind::kl}; }

std::string to_string(const ObserverOptions& o);
// Parses "minmax", "mse", "kl", "percentile" and "percentile:P". Throws ValueError for anything else.
ObserverOptions parse_observer(std::string_view text);

// The range [lo, hi] (lo <= 0 <= hi) that `o` chooses.
struct Range {
  double lo = 0, hi = 0;
};
// Throws ValueError for options out of range.
Range choose_range(const Histogram& h, const ObserverOptions& o);

}  // namespace mininn::quant
