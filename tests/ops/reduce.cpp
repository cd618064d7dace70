#include "ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "ops/create.h"
#include "ops/layout.h"
#include "tests/support/catch.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/random_tensors.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

// Row-major groups of what is reduced into each result, for dims given as a mask.
struct Groups {
  Shape kept, dropped;
  std::vector<std::vector<double>> values;  // each in the row-major order of the reduced dimensions
};

Groups groups_of(const Tensor& x, unsigned mask) {
  Groups g;
  for (int d = 0; d < x.rank(); ++d) {
    const bool reduced = mask >> d & 1;
    g.kept.push_back(reduced ? 1 : x.shape()[d]);
    if (!reduced) g.dropped.push_back(x.shape()[d]);
  }
  g.values.resize(size_t(numel(g.kept)));
  const std::vector<double> v = x.to_vector();
  for (int64_t i = 0; i < x.numel(); ++i) {
    int64_t rest = i, to = 0, stride = 1;
    for (int d = x.rank() - 1; d >= 0; --d) {
      if (!(mask >> d & 1)) to += rest % x.shape()[d] * stride, stride *= x.shape()[d];
      rest /= x.shape()[d];
    }
    g.values[size_t(to)].push_back(v[size_t(i)]);
  }
  return g;
}

constexpr DType kFloating[] = {DType::f32, DType::f64, DType::bf16};

}  // namespace

TEST_CASE("sum, mean, amax and argmax over any dimensions of any layout") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (int trial = 0; trial < 300; ++trial) {
    const DType t = kFloating[random.between(0, 2)];
    const Tensor x = random.tensor(random.shape(), t);
    unsigned mask = unsigned(random.between(0, (1 << x.rank()) - 1));
    DimList dims;
    for (int d = 0; d < x.rank(); ++d)
      if (mask >> d & 1) dims.push_back(random.chance(0.5) ? d : d - x.rank());
    if (dims.rank() == 0) mask = (1u << x.rank()) - 1;  // none means all
    const bool keepdim = random.chance(0.5);
    const Groups g = groups_of(x, mask);
    INFO(name(t) << x.shape() << x.strides() << " mask " << mask << " keepdim " << keepdim);

    const Tensor total = sum(x, dims, keepdim), average = mean(x, dims, keepdim);
    CHECK(total.shape() == (keepdim ? g.kept : g.dropped));
    const auto totals = total.to_vector(), averages = average.to_vector();
    for (size_t i = 0; i < g.values.size(); ++i) {
      double value = 0, magnitude = 0;
      for (const double v : g.values[i]) value += v, magnitude += std::abs(v);
      const double n = double(g.values[i].size());
      // Accumulated in double and rounded once; f64 also by its own additions.
      const double tolerance = unit_roundoff(t) * std::abs(value) + (n + 2) * 0x1p-53 * magnitude;
      CHECK(std::abs(totals[i] - value) <= tolerance);
      if (n > 0)
        CHECK(std::abs(averages[i] - value / n) <= (tolerance + unit_roundoff(t) * std::abs(value)) / n);
      else
        CHECK(std::isnan(averages[i]));
    }

    if (x.numel() == 0) continue;
    const Tensor high = amax(x, dims, keepdim);
    CHECK(high.shape() == total.shape());
    const auto highs = high.to_vector();
    for (size_t i = 0; i < highs.size(); ++i)
      CHECK(highs[i] == *std::max_element(g.values[i].begin(), g.values[i].end()));
    if (dims.rank() == 1) {
      const auto where = argmax(x, int(dims[0]), keepdim).to_vector();
      for (size_t i = 0; i < where.size(); ++i)
        CHECK(where[i] == double(std::max_element(g.values[i].begin(), g.values[i].end()) - g.values[i].begin()));
    }
  }
}

TEST_CASE("every sum kernel writes all of its output and nothing else, on large operands") {
  // Along and across the inner dimension, with several chunks and blocks and their tails.
  struct Case {
    Shape x, y;
  };
  const Case cases[] = {{{100003}, {1}},        {{3, 40001}, {3, 1}},   {{40001, 3}, {1, 3}},
                        {{513, 301}, {1, 301}}, {{301, 513}, {301, 1}}, {{5, 300, 7, 9}, {1, 300, 1, 1}},
                        {{0, 5}, {1, 5}}};
  Generator g(3);
  for_each_kernel<op::Sum>([&](Device device, const auto& kernel) {
    for (const Case& c : cases) {
      const Tensor x = rand(c.x, g);
      unsigned mask = 0;
      for (int d = 0; d < x.rank(); ++d)
        if (c.x[d] != c.y[d]) mask |= 1u << d;
      const Groups expected = groups_of(x, mask);
      Guarded out(c.y);
      INFO(to_string(device) << ' ' << kernel.name << c.x);
      if (!run_kernel(device, kernel, {x.view(), 0.5, out.view()})) continue;
      const auto y = out.values();
      for (size_t i = 0; i < y.size(); ++i) {
        double value = 0;
        for (const double v : expected.values[i]) value += v;
        if (!(std::abs(y[i] - value / 2) <= 0x1p-23 * value)) CHECK(y[i] == value / 2);
      }
    }
  });
}

TEST_CASE("sums have the same bits for any number of threads") {
  Generator g(5);
  const Tensor x = randn({200, 700}, g);
  const int threads = num_threads();
  std::vector<double> rows, columns;
  double all = 0;
  for (const int n : {1, 2, 3, 7}) {
    set_num_threads(n);
    if (n == 1) {
      rows = sum(x, {1}).to_vector();
      columns = sum(x, {0}).to_vector();
      all = sum(x).item();
    }
    CHECK(sum(x, {1}).to_vector() == rows);
    CHECK(sum(x, {0}).to_vector() == columns);
    CHECK(sum(x).item() == all);
  }
  set_num_threads(threads);
}

TEST_CASE("amax: NaN wins, and the gradient goes to the first maximum") {
  const Tensor x = Tensor::from<float>({1, float(kNan), 3, float(kNan)}, {4});
  CHECK(std::isnan(amax(x).item()));
  CHECK(argmax(x, 0).item() == 1);
  Tensor tie = Tensor::from<float>({2, 5, 5, 1, 0, 0}, {2, 3}).set_requires_grad(true);
  amax(tie, {1}).backward(Tensor::from<float>({10, 20}, {2}));
  CHECK(tie.grad().to_vector() == std::vector<double>{0, 10, 0, 20, 0, 0});
  Tensor permuted = Tensor::from<float>({2, 5, 5, 1, 5, 0}, {2, 3}).set_requires_grad(true);
  amax(transpose(permuted, 0, 1)).backward();  // row-major in the operand's own shape: (1, 0) comes before (1, 1)
  CHECK(permuted.grad().to_vector() == std::vector<double>{0, 1, 0, 0, 0, 0});
}

TEST_CASE("sum_to undoes broadcasting") {
  const Tensor x = ones({4, 3, 2});
  CHECK(sum_to(x, {3, 1}).to_vector() == std::vector<double>{8, 8, 8});
  CHECK(sum_to(x, {}).item() == 24);
  CHECK(sum_to(x, {4, 3, 2}).id() == x.id());
  CHECK(sum_to(ones({1, 2}), {2}).to_vector() == std::vector<double>{1, 1});
  CHECK_THROWS_AS(sum_to(x, {2, 2}), ShapeError);
  CHECK_THROWS_AS(sum_to(ones({2}), {1, 2}), ShapeError);
}

TEST_CASE("reductions reject what they do not take") {
  const Tensor x = ones({2, 3});
  CHECK_THROWS_AS(sum(x, {2}), ShapeError);
  CHECK_THROWS_AS(sum(x, {0, -2}), ShapeError);
  CHECK_THROWS_AS(sum(x, {int64_t{1} << 32}), ShapeError);
  CHECK_THROWS_AS(sum(ones({2}, DType::i32)), DTypeError);
  CHECK_THROWS_AS(amax(zeros({2, 0}), {1}), ShapeError);
  CHECK_THROWS_AS(argmax(zeros({0}), 0), ShapeError);
  CHECK(amax(zeros({0, 2}), {1}).numel() == 0);
}
