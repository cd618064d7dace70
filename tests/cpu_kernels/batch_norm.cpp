// Every batch norm kernel against plain loops.
#include "ops/batch_norm.h"

#include <algorithm>

#include "core/parallel.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using reference::Values;
using testing::for_each_kernel;
using testing::Guarded;
using testing::run_kernel;

constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::bf16};
constexpr double kEps = 1e-5, kMomentum = 0.1;

DType statistics(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

struct Case {
  int64_t rows, c;
  double mean = 0;  // of x; its deviation is 1

  friend std::ostream& operator<<(std::ostream& out, const Case& k) {
    return out << k.rows << " rows of " << k.c << " channels, mean " << k.mean;
  }
};

// Row counts around the block of the fast kernels, channel counts around their vectors.
const Case kCases[] = {{2, 1},    {2, 64},    {17, 3},    {33, 16},   {100, 47},      {255, 64},       {256, 64},
                       {257, 64}, {600, 130}, {40, 1100}, {20000, 2}, {3000, 24, 10}, {1500, 64, 1000}};

// Bounds on the rounding of mean and of 1 / sqrt(var + eps). Our kernels sum f32 in f64, or in runs of at most 4096
// terms corrected by the sum of the deviations from their mean; `plain` stands for sums of the numbers as they are.
// Sums of deviations err by (terms + 4) * eps relative.
struct StatisticsError {
  Values mean, rstd_relative;

  StatisticsError(const Case& k, const Values& x, const reference::Moments& m, double eps, bool plain)
      : mean(size_t(k.c)), rstd_relative(size_t(k.c)) {
    const double terms = double(std::min<int64_t>(k.rows, 4096)) + 4;
    Values deviation(size_t(k.c));
    for (size_t i = 0; i < x.size(); ++i)
      deviation[i % size_t(k.c)] += std::abs(x[i] - m.mean[i % size_t(k.c)]) / double(k.rows);
    for (size_t j = 0; j < mean.size(); ++j) {
      mean[j] = (plain ? terms : 3) * eps * std::abs(m.mean[j]) + terms * eps * deviation[j];
      rstd_relative[j] = terms * eps + mean[j] * mean[j] / (m.var[j] + kEps) + 4 * eps;
    }
  }
};

struct Inputs {
  Tensor x, gy, gamma, beta, residual;

  Inputs(const Case& k, DType dtype, Generator& g)
      : x(testing::random_tensor({k.rows, k.c}, g, dtype, MemoryFormat::contiguous, k.mean)),
        gy(testing::random_tensor({k.rows, k.c}, g, dtype)),
        gamma(testing::random_tensor({k.c}, g, statistics(dtype))),
        beta(testing::random_tensor({k.c}, g, statistics(dtype))),
        residual(testing::random_tensor({k.rows, k.c}, g, dtype)) {}
};

// The moments of x, and what they are to be.
struct Moments {
  Tensor mean, rstd, running_mean, running_var;

  Moments(int64_t c, DType t)
      : mean(Tensor::zeros({c}, t)),
        rstd(Tensor::zeros({c}, t)),
        running_mean(Tensor::full({c}, 0.5, t)),
        running_var(Tensor::full({c}, 2, t)) {}
  op::BatchNormMoments args(const Tensor& x) {
    return {x.size(0),
            x.size(1),
            x.view(),
            kMomentum,
            kEps,
            mean.mutable_view(),
            rstd.mutable_view(),
            running_mean.mutable_view(),
            running_var.mutable_view()};
  }
};

// The tolerance of y = (x - mean) * rstd * gamma + beta + residual, where mean and rstd are given.
Values output_tolerance(const Inputs& in, const Values& x, const Values& residual, const Values& y,
                        const reference::Moments& m, DType dtype) {
  const double eps = testing::unit_roundoff(statistics(dtype));
  const Values gamma = in.gamma.to_vector(), beta = in.beta.to_vector();
  Values t(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t j = i % gamma.size();
    const double term = std::abs(gamma[j]) * std::abs(x[i] - m.mean[j]) / std::sqrt(m.var[j]);
    t[i] = eps * (8 * term + 3 * std::abs(beta[j]) + 2 * std::abs(residual[i])) +
           std::abs(y[i]) * testing::unit_roundoff(dtype);
  }
  return t;
}

TEST_CASE("every kernel of a batch's moments agrees with plain loops") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator g(seed);
  for (const Case& k : kCases)
    for (const DType dtype : kDTypes) {
      const Inputs in(k, dtype, g);
      const DType st = statistics(dtype);
      const double eps = testing::unit_roundoff(st);
      const Values x = in.x.to_vector();
      const auto m = reference::moments(k.rows, k.c, x);
      Values rstd(m.var), running_var(m.var), running_mean(m.mean);
      for (size_t j = 0; j < rstd.size(); ++j) {
        rstd[j] = 1 / std::sqrt(m.var[j] + kEps);
        running_mean[j] = 0.5 + kMomentum * (m.mean[j] - 0.5);
        running_var[j] = 2 + kMomentum * (m.var[j] * double(k.rows) / double(k.rows - 1) - 2);
      }
      for_each_kernel<op::BatchNormMoments>([&](Device device, const auto& kernel) {
        Moments out(k.c, st);
        INFO(to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << ": " << k);
        if (!run_kernel(device, kernel, out.args(in.x))) return;
        const StatisticsError e(k, x, m, eps, dtype == DType::f64);
        Values rstd_tolerance(rstd), mean_tolerance(e.mean), var_tolerance(rstd);
        for (size_t j = 0; j < rstd.size(); ++j) {
          rstd_tolerance[j] = rstd[j] * e.rstd_relative[j];
          mean_tolerance[j] += 2 * eps * std::abs(running_mean[j]);
          var_tolerance[j] = 2 * (m.var[j] + kEps) * e.rstd_relative[j] + 4 * eps * running_var[j];
        }
        testing::check_close(out.mean.to_vector(), m.mean, e.mean);
        testing::check_close(out.rstd.to_vector(), rstd, rstd_tolerance);
        testing::check_close(out.running_mean.to_vector(), running_mean, mean_tolerance);
        testing::check_close(out.running_var.to_vector(), running_var, var_tolerance);
      });
    }
}

TEST_CASE("every kernel of 1 / sqrt(var + eps) rounds it correctly, or nearly so") {
  Generator g(testing::test_seed());
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor var = testing::random_tensor({37}, g, dtype, MemoryFormat::contiguous, 10);
    Values expected = var.to_vector(), tolerance(expected);
    for (size_t j = 0; j < expected.size(); ++j) {
      expected[j] = 1 / std::sqrt(expected[j] + kEps);
      tolerance[j] = expected[j] * 2 * testing::unit_roundoff(dtype);
    }
    for_each_kernel<op::BatchNormRstd>([&](Device device, const auto& kernel) {
      Guarded rstd({37}, dtype);
      INFO(to_string(device) << ' ' << kernel.name << ' ' << name(dtype));
      if (run_kernel(device, kernel, op::BatchNormRstd{var.view(), kEps, rstd.view()}))
        testing::check_close(rstd.values(), expected, tolerance);
    });
  }
}

TEST_CASE("every kernel that normalises agrees with plain loops, with and without residual and ReLU") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator g(seed);
  for (const Case& k : kCases)
    for (const DType dtype : kDTypes)
      for (const bool adds : {false, true})
        for (const bool relu : {false, true}) {
          const Inputs in(k, dtype, g);
          const DType st = statistics(dtype);
          const Tensor mean = testing::random_tensor({k.c}, g, st, MemoryFormat::contiguous, k.mean);
          Tensor rstd = Tensor::empty({k.c}, st);
          rstd.copy_from(Tensor::from(
              [&] {
                Values v(size_t(k.c));
                for (double& e : v) e = 0.3 + 3 * g.uniform();
                return v;
              }(),
              {k.c}));
          const Values x = in.x.to_vector(), residual = adds ? in.residual.to_vector() : Values(x.size(), 0.0);
          reference::Moments m{mean.to_vector(), rstd.to_vector()};
          for (double& v : m.var) v = 1 / (v * v);
          Values y = reference::batch_norm(k.c, x, m, 0, in.gamma.to_vector(), in.beta.to_vector());
          for (size_t i = 0; i < y.size(); ++i) y[i] = relu ? std::max(y[i] + residual[i], 0.0) : y[i] + residual[i];
          for_each_kernel<op::BatchNormApply>([&](Device device, const auto& kernel) {
            Guarded out({k.rows, k.c}, dtype);
            const op::BatchNormApply args{k.rows,         k.c,
                                          in.x.view(),    mean.view(),
                                          rstd.view(),    in.gamma.view(),
                                          in.beta.view(), adds ? in.residual.view() : CView(),
                                          relu,           out.view()};
            INFO(to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << (adds ? " +" : "")
                                   << (relu ? " relu: " : ": ") << k);
            if (run_kernel(device, kernel, args))
              testing::check_close(out.values(), y, output_tolerance(in, x, residual, y, m, dtype));
          });
        }
}

TEST_CASE("every batch norm gradient kernel agrees with plain loops") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator g(seed);
  for (const Case& k : kCases)
    for (const DType dtype : kDTypes)
      for (const bool training : {true, false}) {
        const bool relu = g.below(2);
        const Inputs in(k, dtype, g);
        const DType st = statistics(dtype);
        const double eps = testing::unit_roundoff(st), rows = double(k.rows);
        const size_t c = size_t(k.c);
        const Values x = in.x.to_vector(), gamma = in.gamma.to_vector(), y = in.residual.to_vector();  // any y will do
        Values gy = in.gy.to_vector();
        for (size_t i = 0; relu && i < gy.size(); ++i) gy[i] = y[i] <= 0 ? 0 : gy[i];
        auto m = reference::moments(k.rows, k.c, x);
        for (double& v : m.var) v = 1 / std::sqrt(v + kEps);
        Tensor mean = Tensor::empty({k.c}, st), rstd = Tensor::empty({k.c}, st);
        mean.copy_from(Tensor::from(m.mean, {k.c}));
        rstd.copy_from(Tensor::from(m.var, {k.c}));
        m.mean = mean.to_vector();
        m.var = rstd.to_vector();
        for (double& v : m.var) v = 1 / (v * v);
        const auto expected = reference::batch_norm_gradients(k.rows, k.c, x, gy, m, 0, gamma, training);

        // Sums err by (terms + 8) * eps * sum|term|; gx has three terms, two of them with those sums.
        Values ggamma_tolerance(c), gbeta_tolerance(c), gx_tolerance(x.size());
        const double terms = double(std::min<int64_t>(k.rows, 16384)) + 8;
        const auto normalized = [&](size_t i) { return std::abs(x[i] - m.mean[i % c]) / std::sqrt(m.var[i % c]); };
        for (size_t i = 0; i < x.size(); ++i) {
          gbeta_tolerance[i % c] += terms * eps * std::abs(gy[i]);
          ggamma_tolerance[i % c] += terms * eps * std::abs(gy[i]) * normalized(i);
        }
        for (size_t i = 0; i < x.size(); ++i) {
          const size_t j = i % c;
          double t = 8 * eps * std::abs(gy[i]);
          if (training)
            t += (gbeta_tolerance[j] + 8 * eps * std::abs(expected.gbeta[j])) / rows +
                 normalized(i) * (ggamma_tolerance[j] + 8 * eps * std::abs(expected.ggamma[j])) / rows;
          gx_tolerance[i] =
              t * std::abs(gamma[j]) / std::sqrt(m.var[j]) + std::abs(expected.gx[i]) * testing::unit_roundoff(dtype);
        }
        for_each_kernel<op::BatchNormBwd>([&](Device device, const auto& kernel) {
          for (const auto& [want_gx, want_gresidual] :
               {std::pair(true, false), {true, true}, {false, true}, {false, false}}) {
            Guarded gx({k.rows, k.c}, dtype), gresidual({k.rows, k.c}, dtype), ggamma({k.c}, st), gbeta({k.c}, st);
            const op::BatchNormBwd args{k.rows,
                                        k.c,
                                        in.x.view(),
                                        in.gy.view(),
                                        in.gamma.view(),
                                        mean.view(),
                                        rstd.view(),
                                        relu ? in.residual.view() : CView(),
                                        training,
                                        want_gx ? gx.view() : View(),
                                        want_gresidual ? gresidual.view() : View(),
                                        ggamma.view(),
                                        gbeta.view()};
            INFO(to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << (training ? " training" : "")
                                   << (relu ? " relu: " : ": ") << k);
            if (!run_kernel(device, kernel, args)) continue;
            testing::check_close(gbeta.values(), expected.gbeta, gbeta_tolerance);
            testing::check_close(ggamma.values(), expected.ggamma, ggamma_tolerance);
            if (want_gx) testing::check_close(gx.values(), expected.gx, gx_tolerance);
            if (want_gresidual) CHECK(gresidual.values() == gy);
          }
        });
      }
}

TEST_CASE("batch norm keeps the variance of channels whose mean is large") {
  const int64_t rows = 4 * 128 * 128, c = 3;
  std::vector<float> values(size_t(rows * c));
  Generator g(testing::test_seed());
  for (float& v : values) v = g.below(2) ? 10001.0f : 9999.0f;
  const Tensor x = Tensor::from(values, {rows, c});
  for_each_kernel<op::BatchNormMoments>([&](Device device, const auto& kernel) {
    Moments out(c, DType::f32);
    INFO(to_string(device) << ' ' << kernel.name);
    if (!run_kernel(device, kernel, out.args(x))) return;
    for (const double r : out.rstd.to_vector()) CHECK(r == Approx(1).epsilon(1e-3));
    // The batch's mean is within 5 standard errors, 5 / 256, of the middle.
    for (const double m : out.mean.to_vector()) CHECK(std::abs(m - 10000) < 0.02);
  });
}

TEST_CASE("own batch norm kernels keep the digits of long sums") {
  Generator g(testing::test_seed());
  INFO("MININN_TEST_SEED=" << testing::test_seed());
  for (const int64_t rows : {8 * 49, 224 * 224})
    for (const int64_t c : {1, 37}) {
      Tensor x = Tensor::empty({rows, c});
      std::vector<double> exact(size_t(c), 0.0), exact_var(size_t(c), 0.0);
      const auto values = x.mutable_data<float>();
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = float(1e6 + 2 * g.uniform() - 1);
        exact[i % size_t(c)] += double(values[i]) / double(rows);
      }
      for (size_t i = 0; i < values.size(); ++i) {
        const double d = double(values[i]) - exact[i % size_t(c)];
        exact_var[i % size_t(c)] += d * d / double(rows);
      }
      for_each_kernel<op::BatchNormMoments>([&](Device device, const auto& kernel) {
        Moments out(c, DType::f32);
        INFO(to_string(device) << ' ' << kernel.name << ' ' << rows << ' ' << c);
        if (!run_kernel(device, kernel, out.args(x))) return;
        const auto m = out.mean.to_vector(), r = out.rstd.to_vector();
        double worst_mean = 0, worst_rstd = 0;
        for (size_t i = 0; i < exact.size(); ++i) {
          worst_mean = std::max(worst_mean, std::abs(m[i] / exact[i] - 1));
          worst_rstd = std::max(worst_rstd, std::abs(r[i] * std::sqrt(exact_var[i] + kEps) - 1));
        }
        CHECK(worst_mean <= 0x1p-24);
        CHECK(worst_rstd < 64 * 0x1p-24);
      });
      const Tensor mean = Tensor::full({c}, 1e6), gamma = Tensor::full({c}, 1), gy = Tensor::full({rows, c}, 0.1);
      for_each_kernel<op::BatchNormBwd>([&](Device device, const auto& kernel) {
        if (kernel.traits.family != Family::own) return;
        Tensor ggamma = Tensor::zeros({c}), gbeta = Tensor::zeros({c});
        const op::BatchNormBwd args{
            rows,    c,    x.view(), gy.view(), gamma.view(),          mean.view(),         gamma.view(),
            CView(), true, View(),   View(),    ggamma.mutable_view(), gbeta.mutable_view()};
        INFO(to_string(device) << ' ' << kernel.name << ' ' << rows << ' ' << c);
        if (!run_kernel(device, kernel, args)) return;
        double worst = 0;
        for (const double v : gbeta.to_vector())
          worst = std::max(worst, std::abs(v / (double(0.1f) * double(rows)) - 1));
        CHECK(worst < 64 * 0x1p-24);
      });
    }
}

TEST_CASE("batch norm does not depend on the number of threads") {
  Generator g(testing::test_seed());
  const Inputs in({5000, 48}, DType::f32, g);
  for_each_kernel<op::BatchNormMoments>([&](Device device, const auto& kernel) {
    std::vector<Values> results;
    for (const int threads : {1, 3}) {
      const int before = num_threads();
      set_num_threads(threads);
      Moments out(48, DType::f32);
      if (run_kernel(device, kernel, out.args(in.x))) {
        results.push_back(out.mean.to_vector());
        for (const double v : out.rstd.to_vector()) results.back().push_back(v);
      }
      set_num_threads(before);
    }
    INFO(to_string(device) << ' ' << kernel.name);
    if (!results.empty()) CHECK(results[0] == results[1]);
  });
}

}  // namespace
}  // namespace mininn
