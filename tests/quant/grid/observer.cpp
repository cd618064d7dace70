#include "quant/grid/observer.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "quant/grid/affine.h"
#include "tests/support/catch.h"
#include "tests/support/comma_locale.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

namespace {

Tensor tensor(const std::vector<float>& v) { return Tensor::from(v, {int64_t(v.size())}); }

// Normal numbers with a few outliers; one_sided: as after a ReLU, half of them zero.
std::vector<float> sample(Generator& g, size_t n, bool one_sided) {
  std::vector<float> v(n);
  for (float& x : v) {
    x = float(g.normal() * (g.below(200) == 0 ? 6 : 1));
    if (one_sided) x = std::max(x, 0.0f);
  }
  return v;
}

Histogram histogram_of(const std::vector<float>& v) {
  const auto [lo, hi] = std::minmax_element(v.begin(), v.end());
  Histogram h(*lo, *hi);
  h.observe(tensor(v));
  return h;
}

// Mean squared error of rounding and clipping `v` to the grid of a range.
double error(const std::vector<float>& v, const Range& r) {
  const QParams q = affine_u8(r.lo, r.hi);
  double sum = 0;
  for (const float x : v) {
    const double code = std::clamp(std::nearbyint(double(x) / double(q.scale)) + q.zero_point, 0.0, 255.0);
    const double e = double(x) - double(q.scale) * (code - q.zero_point);
    sum += e * e;
  }
  return sum / double(v.size());
}

}  // namespace

TEST_CASE("min-max finds the bounds, whatever the threads and the order of merging") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  std::vector<float> v = sample(g, 300000, false);
  const int threads = num_threads();
  for (const int t : {1, 3}) {
    set_num_threads(t);
    MinMax m;
    m.observe(tensor(v), "v");
    CHECK(m.min() == *std::min_element(v.begin(), v.end()));
    CHECK(m.max() == *std::max_element(v.begin(), v.end()));
  }
  set_num_threads(threads);
  MinMax a, b, both;
  CHECK(a.empty());
  a.observe(tensor({1, -2}), "a");
  b.observe(tensor({-0.5f, 7}), "b");
  both.merge(b);
  both.merge(a);
  both.merge(MinMax());
  CHECK(both.min() == -2);
  CHECK(both.max() == 7);
}

TEST_CASE("NaN and infinity are refused with the tensor's name") {
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    MinMax m;
    CHECK_THROWS_WITH(m.observe(tensor({1, bad, 2}), "layer3.relu"), Contains("layer3.relu") && Contains("NaN"));
  }
}

TEST_CASE("a histogram counts every value once, zeros apart, and merges") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  const std::vector<float> v = sample(g, 200000, true);
  Histogram whole = histogram_of(v);
  CHECK(whole.total() + whole.zeros() == v.size());
  CHECK(whole.zeros() == uint64_t(std::count(v.begin(), v.end(), 0.0f)));
  Histogram a(float(whole.lo()), float(whole.hi())), b = a;
  a.observe(tensor({v.begin(), v.begin() + 70001}));
  b.observe(tensor({v.begin() + 70001, v.end()}));
  b.merge(a);
  CHECK(b.counts() == whole.counts());
  CHECK(b.zeros() == whole.zeros());
  CHECK_THROWS_AS(a.merge(Histogram(0, 1)), ValueError);
  CHECK_THROWS_AS(Histogram(0, INFINITY), ValueError);
}

TEST_CASE("the MSE range is as good as an exhaustive scan over the data") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  for (const bool one_sided : {true, false}) {
    const std::vector<float> v = sample(g, 10000, one_sided);
    const Histogram h = histogram_of(v);
    const Range chosen = choose_range(h, histogram_mse());
    double best = error(v, {h.lo(), h.hi()});
    for (int i = 1; i <= 100; ++i)
      for (int j = one_sided ? 100 : 1; j <= 100; ++j)
        best = std::min(best, error(v, {h.lo() * j / 100, h.hi() * i / 100}));
    CHECK(error(v, chosen) <= 1.02 * best);
    if (one_sided) CHECK(chosen.lo == 0);
  }
}

TEST_CASE("the percentile equals the sorted one to a bin") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  const std::vector<float> v = sample(g, 50000, false);
  const Histogram h = histogram_of(v);
  std::vector<float> sorted;
  for (const float x : v)
    if (x != 0) sorted.push_back(std::abs(x));
  std::sort(sorted.begin(), sorted.end());
  for (const double p : {50.0, 99.0, 99.9}) {
    const Range r = choose_range(h, percentile(p));
    const double exact = double(sorted[size_t(std::ceil(double(sorted.size()) * p / 100)) - 1]);
    CHECK(std::max(-r.lo, r.hi) == Approx(exact).margin(2 * h.bin_width()));
  }
  CHECK_THROWS_AS(percentile(0), ValueError);
  CHECK_THROWS_AS(percentile(100.5), ValueError);
  const Range all = choose_range(h, percentile(100));
  CHECK(all.lo == h.lo());
  CHECK(all.hi == h.hi());
}

TEST_CASE("KL keeps a uniform range and cuts a far outlier") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  std::vector<float> v(50000);
  for (float& x : v) x = float(g.uniform());
  CHECK(choose_range(histogram_of(v), kl()).hi > 0.95);
  v[0] = 20;
  const Range cut = choose_range(histogram_of(v), kl());
  CHECK(cut.hi < 5);
  CHECK(cut.hi > 0.95);
}

TEST_CASE("a percentile does not depend on how far away the outliers lie") {
  for (const double scale : {1.0, -1.0, 3e-7, 5e4})
    for (const double outlier : {2.0, 1e3, 1e6, 1e15}) {
      INFO(scale << " " << outlier);
      std::vector<float> v(100001);
      for (size_t i = 0; i + 1 < v.size(); ++i) v[i] = float(scale * double(i + 1) / 1e5);
      v.back() = float(scale * outlier);
      const Histogram h = histogram_of(v);
      for (const double p : {1.0, 50.0, 99.9}) {
        const Range r = choose_range(h, percentile(p));
        const double exact = std::abs(scale) * p / 100, most = exact * (1 + 1.0 / 128) + 2e-5 * std::abs(scale);
        CHECK(std::max(-r.lo, r.hi) >= 0.999 * exact);
        CHECK(std::max(-r.lo, r.hi) <= std::max(most, outlier < 10 ? exact + 2 * h.bin_width() : 0));
      }
    }
}

TEST_CASE("no range costs much against the widest one") {
  const auto decibel = [](const std::vector<float>& v, const Range& r) {
    double signal = 0;
    for (const float x : v) signal += double(x) * double(x);
    return 10 * std::log10(signal / double(v.size()) / error(v, r));
  };
  // What KL clips of few values, and where the outlier leaves all others in one bin of the histogram.
  std::vector<float> outlier(1 << 18, 1e-5f);
  for (size_t i = 0; i < outlier.size(); ++i) outlier[i] *= float(i % 1000);
  outlier[7] = 1000;
  for (const auto& v : {std::vector<float>{1, -3}, {1, 2, 40}, {-0.1f, 5, 5, 5}, {1e-6f, 1e6f}, outlier}) {
    const Histogram h = histogram_of(v);
    const double widest = std::min(decibel(v, {h.lo(), h.hi()}), 55.0);  // a few values may fit their grid by chance
    CHECK(decibel(v, choose_range(h, kl())) > widest - 21);
    CHECK(decibel(v, choose_range(h, histogram_mse())) > widest - 7);
  }
}

TEST_CASE("zero, constant and tiny data give usable grids") {
  for (const ObserverOptions& o : {minmax(), histogram_mse(), percentile(), kl()}) {
    INFO(to_string(o));
    CHECK(choose_range(histogram_of({0, 0, 0}), o).hi == 0);
    const Range constant = choose_range(histogram_of({5, 5, 5}), o);
    CHECK(error({5}, constant) < 1e-3);
    const Range negative = choose_range(histogram_of({-5, -5}), o);
    CHECK(negative.hi == 0);
    CHECK(error({-5}, negative) < 1e-3);
    const Range tiny = choose_range(histogram_of({1e-30f, 2e-30f}), o);
    CHECK(error({1e-30f, 2e-30f}, tiny) < 1e-64);
  }
}

TEST_CASE("observers have names that parse back") {
  for (const ObserverOptions& o : {minmax(), histogram_mse(), percentile(99.9), percentile(99.999999), kl()}) {
    const ObserverOptions back = parse_observer(to_string(o));
    CHECK(back.kind == o.kind);
    CHECK(back.percentile == o.percentile);
  }
  CHECK(parse_observer("percentile").percentile == 99.999);
  for (const char* bad : {"", "max", "percentile:", "percentile:x", "percentile:9,5", "percentile:101"})
    CHECK_THROWS_AS(parse_observer(bad), ValueError);
}

TEST_CASE("the names of observers do not depend on the locale") {
  const CommaLocale comma;
  if (!comma) return;
  CHECK(to_string(percentile(99.9)) == "percentile:99.9");
  CHECK(parse_observer("percentile:99.9").percentile == 99.9);
  CHECK_THROWS_AS(parse_observer("percentile:99,9"), ValueError);
}

TEST_CASE("no observer does worse than it says against the widest range, whatever the data") {
  Generator g(test_seed());
  INFO("seed " << test_seed());
  const auto many = [&](auto value) {
    std::vector<float> v(5000);
    for (float& x : v) x = float(value());
    return v;
  };
  const auto mode = [&] { return g.below(2) ? 1.0 : -1.0; };
  std::vector<std::pair<const char*, std::vector<float>>> sets = {
      {"constant", std::vector<float>(1000, 5.0f)},
      {"a negative constant", std::vector<float>(1000, -0.37f)},
      {"two values", {1, -3}},
      {"two values far from zero", {99.8735f, 100.61f}},
      {"many of two values", many([&] { return g.below(9) ? 1.0 : -3.0; })},
      {"integers", many([&] { return double(g.below(256)); })},
      {"a constant and noise", many([&] { return 5 + 1e-6 * g.normal(); })},
      {"two modes", many(mode)},
      {"two modes and little noise", many([&] { return mode() + 1e-5 * g.normal(); })},
      {"two modes and noise", many([&] { return mode() + 1e-2 * g.normal(); })},
      {"two modes and much noise", many([&] { return mode() + 0.2 * g.normal(); })},
      {"one side", many([&] { return std::abs(g.normal()); })},
      {"one side far from zero", many([&] { return 100 + g.normal(); })},
      {"both sides", many([&] { return g.normal(); })},
      {"even", many([&] { return g.uniform(); })},
      {"heavy tails", many([&] { return std::exp(2 * g.normal()); })},
  };
  for (const size_t n : {size_t(3), size_t(100), size_t(5000)}) {
    std::vector<float> v(n);
    for (float& x : v) x = float(g.normal());
    v[0] = 1000;
    sets.emplace_back("an outlier", v);
    for (float& x : v) x = std::abs(x);
    sets.emplace_back("an outlier on one side", v);
  }
  for (const auto& [what, v] : sets) {
    const Histogram h = histogram_of(v);
    const double peak = std::max(-h.lo(), h.hi()), widest = error(v, {h.lo(), h.hi()});
    INFO(what << ", " << v.size() << " values up to " << peak);
    // The margin is what f32 cannot tell apart; a bin's mean does not say which of its values round up and which down.
    CHECK(error(v, choose_range(h, histogram_mse())) <= 1.05 * widest + 1e-15 * peak * peak);
    CHECK(error(v, choose_range(h, kl())) <= 105 * widest + 1e-15 * peak * peak);
  }
}

TEST_CASE("numbers that are no observer are refused") {
  Histogram h(0, 1);
  h.observe(tensor({0.5f}));
  CHECK_THROWS_WITH(choose_range(h, {ObserverKind(77)}), Contains("77"));
  CHECK_THROWS_AS(choose_range(h, {ObserverKind::percentile, 101}), ValueError);
}

TEST_CASE("a histogram refuses what it cannot count, and then has counted nothing") {
  Histogram none;
  CHECK_THROWS_AS(none.observe(tensor({1})), ValueError);
  CHECK_THROWS_AS(none.mean(0), ValueError);
  Histogram h(0, 1, 16);
  for (const int bin : {-1, 16, std::numeric_limits<int>::max()}) CHECK_THROWS_AS(h.mean(bin), ValueError);
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    CHECK_THROWS_WITH(h.observe(tensor({0, 0.5, bad})), Catch::Contains("histogram"));
    CHECK(h.total() == 0);
    CHECK(h.zeros() == 0);
  }
  for (const int bins : {-1, 0, Histogram::kMaxBins + 1, std::numeric_limits<int>::max()})
    CHECK_THROWS_AS(Histogram(0, 1, bins), ValueError);
  CHECK(Histogram(0, 1, Histogram::kMaxBins).counts().size() == size_t(Histogram::kMaxBins));
}
