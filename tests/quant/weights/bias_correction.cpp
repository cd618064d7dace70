#include "quant/weights/bias_correction.h"

#include <numeric>

#include "nn/graph/executor.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;

namespace {

// Of each logit, over all images.
std::vector<double> means(const Tensor& logits) {
  const auto v = logits.to_vector();
  const auto classes = size_t(logits.size(1)), n = v.size() / classes;
  std::vector<double> mean(classes, 0);
  for (size_t i = 0; i < v.size(); ++i) mean[i % classes] += v[i] / double(n);
  return mean;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double top = 0;
  for (size_t i = 0; i < a.size(); ++i) top = std::max(top, std::abs(a[i] - b[i]));
  return top;
}

}  // namespace

TEST_CASE("corrected biases take the mean error out of the calibration set") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const bool images : {false, true})
    for (const TestNet& net : test_nets(seed)) {
      if (images && net.input.rank() != 4) continue;
      INFO(net.name << (images ? " on images" : ""));
      const auto error = [&](bool correct) {
        CalibratorOptions o;
        o.per_channel = false;  // coarse, so that there is something to correct
        o.bias_correction = correct;
        const Calibrator calib = calibrated(net, seed, images, o);
        const Int8Net int8 = calib.compile();
        CHECK(int8.model().calibration.contains("bias_correction") == correct);
        const Tensor x = random_input(net, 24, images, seed);
        const Tensor exact = nn::graph::run(calib.graph(), images ? normalize_images(x, kImages) : x);
        return largest_difference(means(int8(x)), means(exact));
      };
      const double before = error(false), after = error(true);
      CHECK(after < 1e-4);
      CHECK(after < before / 10);
    }
}

TEST_CASE("bias correction moves biases and nothing else") {
  const TestNet net = residual(2);
  CalibratorOptions o;
  const Int8Net plain = calibrated(net, 3, true, o).compile();
  o.bias_correction = true;
  const Int8Net corrected = calibrated(net, 3, true, o).compile();
  const nn::graph::Graph &before = plain.model().graph, &after = corrected.model().graph;
  CHECK(to_string(before) == to_string(after));
  bool moved = false;
  for (size_t i = 0; i < before.values.size(); ++i) {
    const Tensor &a = before.values[i].constant, &b = after.values[i].constant;
    if (!a) continue;
    const auto p = a.to_vector(), q = b.to_vector();
    if (!before.values[i].name.ends_with(".bias")) {
      CHECK(p == q);
      continue;
    }
    REQUIRE(p.size() == q.size());
    moved |= p != q;
    // One shift per output channel, whatever the border class.
    const auto channels = size_t(a.size(-1));
    for (size_t k = channels; k < p.size(); ++k) CHECK(q[k] - p[k] == q[k % channels] - p[k % channels]);
  }
  CHECK(moved);
}
