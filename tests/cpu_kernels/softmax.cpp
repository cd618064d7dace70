// Softmax and cross entropy, every kernel against plain loops in double.
#include "ops/softmax.h"

#include <algorithm>
#include <cmath>

#include "ops/cross_entropy.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using namespace testing;
using reference::Values;

// What rounding explains where n terms are added up in double: here, in the kernel, and when it stores.
double rounding(DType t, int64_t n) { return 8 * unit_roundoff(t) + double(n) * 0x1p-51; }

Values tolerances(const Values& expected, double relative, double scale) {
  Values out;
  for (const double v : expected) out.push_back(relative * (std::abs(v) + scale));
  return out;
}

struct Lines {
  int64_t outer, n, inner;
  int64_t at(int64_t o, int64_t j, int64_t i) const { return (o * n + j) * inner + i; }
  Shape shape() const { return {outer, n, inner}; }
  // fn(indices of a line's elements)
  template <class Fn>
  void for_each(const Fn& fn) const {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        std::vector<size_t> line;
        for (int64_t j = 0; j < n; ++j) line.push_back(size_t(at(o, j, i)));
        fn(line);
      }
  }
};

const Lines kLines[] = {{1, 1, 1}, {3, 10, 1}, {2, 5, 7}, {1, 1000, 3}, {4, 0, 2}, {0, 3, 2}, {33, 2, 5}};

TEST_CASE("every softmax kernel gives exponentials over their sum, or its logarithm, and nothing else") {
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for_each_kernel<op::SoftmaxFwd>([&](Device device, const auto& kernel) {
    for (const DType t : {DType::f32, DType::f64, DType::bf16})
      for (const Lines& l : kLines)
        for (const bool log : {false, true}) {
          const Tensor x = random_tensor(l.shape(), g, t, MemoryFormat::contiguous, 0, 3);
          Guarded y(l.shape(), t);
          const op::SoftmaxFwd args{l.outer, l.n, l.inner, log, x.view(), y.view()};
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << ' ' << l.shape() << (log ? " log" : ""));
          if (!run_kernel(device, kernel, args)) continue;
          const Values in = x.to_vector();
          Values expected(in.size());
          l.for_each([&](const std::vector<size_t>& line) {
            double sum = 0;
            for (const size_t j : line) sum += std::exp(in[j]);
            for (const size_t j : line) expected[j] = log ? in[j] - std::log(sum) : std::exp(in[j]) / sum;
          });
          check_close(y.values(), expected, tolerances(expected, rounding(t, l.n), log ? 1 : 0));
        }
  });
}

TEST_CASE("every softmax gradient kernel gives the product with the Jacobian, and nothing else") {
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for_each_kernel<op::SoftmaxBwd>([&](Device device, const auto& kernel) {
    for (const DType t : {DType::f32, DType::f64, DType::bf16})
      for (const Lines& l : kLines)
        for (const bool log : {false, true}) {
          // y as the forward pass leaves it: rounded, so that its sum is 1 only to so many digits.
          Values y(size_t(numel(l.shape())));
          for (double& v : y) v = 3 * g.normal();
          l.for_each([&](const std::vector<size_t>& line) {
            double sum = 0;
            for (const size_t j : line) sum += std::exp(y[j]);
            for (const size_t j : line) y[j] = log ? y[j] - std::log(sum) : std::exp(y[j]) / sum;
          });
          Tensor stored = Tensor::empty(l.shape(), t);
          stored.copy_from(Tensor::from(y, l.shape()));
          y = stored.to_vector();
          const Tensor gy = random_tensor(l.shape(), g, t);
          Guarded gx(l.shape(), t);
          const op::SoftmaxBwd args{l.outer, l.n, l.inner, log, stored.view(), gy.view(), gx.view()};
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << ' ' << l.shape() << (log ? " log" : ""));
          if (!run_kernel(device, kernel, args)) continue;
          const Values grad = gy.to_vector();
          Values expected(grad.size()), tolerance(grad.size());
          l.for_each([&](const std::vector<size_t>& line) {
            double sum = 0, magnitude = 0;
            for (const size_t j : line) {
              const double term = log ? grad[j] : grad[j] * y[j];
              sum += term;
              magnitude += std::abs(term);
            }
            for (const size_t j : line) {
              const double p = log ? std::exp(y[j]) : y[j];
              expected[j] = log ? grad[j] - p * sum : p * (grad[j] - sum);
              // The sum of the stored probabilities is off 1 by a rounding of each.
              tolerance[j] = rounding(t, l.n) * (std::abs(grad[j]) + magnitude) * (log ? 1 + p : p);
            }
          });
          check_close(gx.values(), expected, tolerance);
        }
  });
}

TEST_CASE("every cross entropy kernel gives the mean loss and the probabilities, and nothing else") {
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for_each_kernel<op::CrossEntropyFwd>([&](Device device, const auto& kernel) {
    for (const DType t : {DType::f32, DType::f64})
      for (const auto& [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {7, 10}, {64, 3}, {3, 1000}})
        for (const double smoothing : {0.0, 0.2}) {
          const Tensor logits = random_tensor({n, c}, g, t, MemoryFormat::contiguous, 0, 3);
          std::vector<int64_t> labels;
          for (int64_t i = 0; i < n; ++i) labels.push_back(int64_t(g.below(uint64_t(c))));
          const Tensor label_tensor = Tensor::from(labels, {n});
          Guarded probs({n, c}, t), loss({}, t);
          const op::CrossEntropyFwd args{n,          c, smoothing, logits.view(), label_tensor.view(), probs.view(),
                                         loss.view()};
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << ' ' << n << 'x' << c << " smoothing "
                                 << smoothing);
          if (!run_kernel(device, kernel, args)) continue;
          const Values x = logits.to_vector();
          Values p(x.size());
          double mean = 0, magnitude = 0;
          for (int64_t i = 0; i < n; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < c; ++j) sum += std::exp(x[size_t(i * c + j)]);
            for (int64_t j = 0; j < c; ++j) {
              const size_t at = size_t(i * c + j);
              p[at] = std::exp(x[at]) / sum;
              const double target = smoothing / double(c) + (j == labels[size_t(i)] ? 1 - smoothing : 0);
              mean -= target * std::log(p[at]) / double(n);
              magnitude += target * (std::abs(x[at]) + std::abs(std::log(sum))) / double(n);
            }
          }
          check_close(probs.values(), p, tolerances(p, rounding(t, c), 0));
          check_close(loss.values(), {mean}, {rounding(t, n * c) * (magnitude + 1)});
        }
  });
}

TEST_CASE("every cross entropy gradient kernel gives the distance from the target, and nothing else") {
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for_each_kernel<op::CrossEntropyBwd>([&](Device device, const auto& kernel) {
    for (const DType t : {DType::f32, DType::f64})
      for (const auto& [n, c] : {std::pair<int64_t, int64_t>{1, 1}, {7, 10}, {64, 3}, {3, 1000}})
        for (const double smoothing : {0.0, 0.2}) {
          Values p(size_t(n * c));
          std::vector<int64_t> labels;
          for (int64_t i = 0; i < n; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < c; ++j) sum += p[size_t(i * c + j)] = std::exp(2 * g.normal());
            for (int64_t j = 0; j < c; ++j) p[size_t(i * c + j)] /= sum;
            labels.push_back(int64_t(g.below(uint64_t(c))));
          }
          Tensor probs = Tensor::empty({n, c}, t);
          probs.copy_from(Tensor::from(p, {n, c}));
          p = probs.to_vector();
          const Tensor label_tensor = Tensor::from(labels, {n}), gy = Tensor::full({}, 1.5, t);
          Guarded gx({n, c}, t);
          const op::CrossEntropyBwd args{n, c, smoothing, probs.view(), label_tensor.view(), gy.view(), gx.view()};
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << ' ' << n << 'x' << c << " smoothing "
                                 << smoothing);
          if (!run_kernel(device, kernel, args)) continue;
          Values expected, tolerance;
          for (int64_t i = 0; i < n * c; ++i) {
            const double target = smoothing / double(c) + (i % c == labels[size_t(i / c)] ? 1 - smoothing : 0);
            expected.push_back(1.5 * (p[size_t(i)] - target) / double(n));
            // The label's is what the others leave, whose stored probabilities are rounded one by one.
            tolerance.push_back(rounding(t, c) * 1.5 / double(n));
          }
          check_close(gx.values(), expected, tolerance);
        }
  });
}

}  // namespace
}  // namespace mininn
