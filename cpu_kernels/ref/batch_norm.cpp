#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

template <class T>
void moments(const op::BatchNormMoments& a) {
  parallel_for(a.c, 1, [&](int64_t begin, int64_t end) {
    const T* x = a.x.as<T>();
    const double rows = double(a.rows);
    for (int64_t i = begin; i < end; ++i) {
      double mean = 0, var = 0;
      for (int64_t r = 0; r < a.rows; ++r) mean += to_double(x[r * a.c + i]);
      mean /= rows;
      for (int64_t r = 0; r < a.rows; ++r) {
        const double d = to_double(x[r * a.c + i]) - mean;
        var += d * d;
      }
      var /= rows;
      store(a.mean, i, mean);
      store(a.rstd, i, 1 / std::sqrt(var + a.eps));
      const auto blend = [&](const View& running, double now) {
        const double old = load(running, i);
        store(running, i, old + a.momentum * (now - old));
      };
      blend(a.running_mean, mean);
      blend(a.running_var, var * rows / (rows - 1));
    }
  });
}

template <class T>
void apply(const op::BatchNormApply& a) {
  parallel_for(a.c, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double mean = load(a.mean, i), scale = load(a.rstd, i) * load(a.gamma, i), beta = load(a.beta, i);
      for (int64_t at = i; at < a.rows * a.c; at += a.c) {
        double y = (to_double(a.x.as<T>()[at]) - mean) * scale + beta;
        if (a.residual) y += to_double(a.residual.as<T>()[at]);
        a.y.as<T>()[at] = from_double<T>(a.relu && y <= 0 ? 0 : y);
      }
    }
  });
}

template <class T>
void bwd(const op::BatchNormBwd& a) {
  parallel_for(a.c, 1, [&](int64_t begin, int64_t end) {
    const T* x = a.x.as<T>();
    for (int64_t i = begin; i < end; ++i) {
      const double mean = load(a.mean, i), rstd = load(a.rstd, i), gamma = load(a.gamma, i);
      const auto normalized = [&](int64_t at) { return (to_double(x[at]) - mean) * rstd; };
      const auto gradient = [&](int64_t at) {  // behind the ReLU
        return a.y && to_double(a.y.as<T>()[at]) <= 0 ? 0 : to_double(a.gy.as<T>()[at]);
      };
      double ggamma = 0, gbeta = 0;
      for (int64_t at = i; at < a.rows * a.c; at += a.c) {
        ggamma += gradient(at) * normalized(at);
        gbeta += gradient(at);
      }
      store(a.ggamma, i, ggamma);
      store(a.gbeta, i, gbeta);
      for (int64_t at = i; at < a.rows * a.c; at += a.c) {
        double g = gradient(at);
        if (a.gresidual) a.gresidual.as<T>()[at] = from_double<T>(g);
        if (a.training) g -= (gbeta + normalized(at) * ggamma) / double(a.rows);
        if (a.gx) a.gx.as<T>()[at] = from_double<T>(g * gamma * rstd);
      }
    }
  });
}

void run_rstd(const op::BatchNormRstd& a, const ExecContext&) {
  for (int64_t i = 0; i < a.var.size(); ++i) store(a.rstd, i, 1 / std::sqrt(load(a.var, i) + a.eps));
}

template <class Args>
Refusal check(const Args& a) {
  return check_floating(a.x.dtype);
}

void run_moments(const op::BatchNormMoments& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { moments<T>(a); });
}
void run_apply(const op::BatchNormApply& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { apply<T>(a); });
}
void run_bwd(const op::BatchNormBwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { bwd<T>(a); });
}

}  // namespace

constinit const Kernel<op::BatchNormMoments> batch_norm_moments{"ref", kReference, check, run_moments};
constinit const Kernel<op::BatchNormRstd> batch_norm_rstd{
    "ref", kReference, [](const op::BatchNormRstd& a) { return check_floating(a.var.dtype); }, run_rstd};
constinit const Kernel<op::BatchNormApply> batch_norm_apply{"ref", kReference, check, run_apply};
constinit const Kernel<op::BatchNormBwd> batch_norm_bwd{"ref", kReference, check, run_bwd};

}  // namespace mininn::cpu::ref
