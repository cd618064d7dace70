#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

// y = (x - mean) * rstd * gamma + beta for channel i.
template <class T>
void normalize(const CView& x, const View& y, int64_t rows, int64_t c, int64_t i, double mean, double rstd,
               double gamma, double beta) {
  for (int64_t r = 0; r < rows; ++r)
    y.as<T>()[r * c + i] = from_double<T>((to_double(x.as<T>()[r * c + i]) - mean) * rstd * gamma + beta);
}

template <class T>
void fwd_train(const op::BatchNormFwdTrain& a) {
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
      const double rstd = 1 / std::sqrt(var + a.eps);
      normalize<T>(a.x, a.y, a.rows, a.c, i, mean, rstd, load(a.gamma, i), load(a.beta, i));
      store(a.mean, i, mean);
      store(a.rstd, i, rstd);
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
void fwd_eval(const op::BatchNormFwdEval& a) {
  parallel_for(a.c, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double rstd = 1 / std::sqrt(load(a.var, i) + a.eps);
      normalize<T>(a.x, a.y, a.rows, a.c, i, load(a.mean, i), rstd, load(a.gamma, i), load(a.beta, i));
      store(a.rstd, i, rstd);
    }
  });
}

template <class T>
void bwd(const op::BatchNormBwd& a) {
  parallel_for(a.c, 1, [&](int64_t begin, int64_t end) {
    const T* x = a.x.as<T>();
    const T* gy = a.gy.as<T>();
    for (int64_t i = begin; i < end; ++i) {
      const double mean = load(a.mean, i), rstd = load(a.rstd, i), gamma = load(a.gamma, i);
      const auto normalized = [&](int64_t r) { return (to_double(x[r * a.c + i]) - mean) * rstd; };
      double ggamma = 0, gbeta = 0;
      for (int64_t r = 0; r < a.rows; ++r) {
        ggamma += to_double(gy[r * a.c + i]) * normalized(r);
        gbeta += to_double(gy[r * a.c + i]);
      }
      store(a.ggamma, i, ggamma);
      store(a.gbeta, i, gbeta);
      if (!a.gx) continue;
      for (int64_t r = 0; r < a.rows; ++r) {
        double g = to_double(gy[r * a.c + i]);
        if (a.training) g -= (gbeta + normalized(r) * ggamma) / double(a.rows);
        a.gx.as<T>()[r * a.c + i] = from_double<T>(g * gamma * rstd);
      }
    }
  });
}

Refusal check_train(const op::BatchNormFwdTrain& a) { return check_floating(a.x.dtype); }
Refusal check_eval(const op::BatchNormFwdEval& a) { return check_floating(a.x.dtype); }
Refusal check_bwd(const op::BatchNormBwd& a) { return check_floating(a.x.dtype); }

void run_train(const op::BatchNormFwdTrain& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { fwd_train<T>(a); });
}
void run_eval(const op::BatchNormFwdEval& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { fwd_eval<T>(a); });
}
void run_bwd(const op::BatchNormBwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { bwd<T>(a); });
}

}  // namespace

constinit const Kernel<op::BatchNormFwdTrain> batch_norm_fwd_train{"ref", kReference, check_train, run_train};
constinit const Kernel<op::BatchNormFwdEval> batch_norm_fwd_eval{"ref", kReference, check_eval, run_eval};
constinit const Kernel<op::BatchNormBwd> batch_norm_bwd{"ref", kReference, check_bwd, run_bwd};

}  // namespace mininn::cpu::ref
