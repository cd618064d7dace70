// Batch normalisation of [rows, c] matrices. Sums over rows are taken in double, by parts whose cuts follow from the
// sizes alone.
#include "ops/batch_norm.h"

#include <cmath>

#include "core/convert.h"
#include "cuda/block_reduce.h"
#include "cuda/launch.h"
#include "cuda/own/memory/kernels.h"
#include "cuda/scratch.h"

namespace mininn::cuda::own {
namespace {

constexpr unsigned kWidth = 32;  // channels of a block

// What is kept of a channel: mean, rstd, gamma, beta and their gradients.
template <class T>
using Stat = std::conditional_t<std::is_same_v<T, double>, double, float>;

struct Two {
  double a, b;
};
struct AddTwo {
  __device__ Two operator()(const Two& x, const Two& y) const { return {x.a + y.a, x.b + y.b}; }
};

// partial[part * c + i] = the sum of term(element, channel i) over the part's rows.
template <class Term>
__global__ void channel_sums_kernel(int64_t rows, int64_t c, int64_t each, Term term, Two* partial) {
  __shared__ Two shared[kThreads];
  const int64_t i = int64_t(blockIdx.x) * kWidth + threadIdx.x % kWidth, begin = int64_t(blockIdx.y) * each;
  const int64_t end = begin + each < rows ? begin + each : rows;
  Two sum{0, 0};
  for (int64_t r = begin + threadIdx.x / kWidth; i < c && r < end; r += kThreads / kWidth)
    sum = AddTwo()(sum, term(r * c + i, i));
  sum = reduce_columns(shared, sum, kWidth, AddTwo());
  if (threadIdx.x < kWidth && i < c) partial[int64_t(blockIdx.y) * c + i] = sum;
}

// finish(sum, i) for every channel.
template <class Finish>
__global__ void finish_kernel(int64_t c, int64_t parts, Finish finish, const Two* partial) {
  for (int64_t i = thread_index(); i < c; i += thread_count()) {
    Two sum{0, 0};
    for (int64_t p = 0; p < parts; ++p) sum = AddTwo()(sum, partial[p * c + i]);
    finish(sum, i);
  }
}

template <class Term, class Finish>
void reduce_channels(int64_t rows, int64_t c, const Term& term, const Finish& finish, const ExecContext& at) {
  const int64_t blocks = ceil_div(c, int64_t(kWidth));
  const Parts parts(rows, blocks);
  Scratch<double> partial(2 * parts.count * c, at);
  auto* const sums = reinterpret_cast<Two*>(partial.data());
  launch(channel_sums_kernel<Term>, {dim3(unsigned(blocks), unsigned(parts.count))}, at, rows, c, parts.each, term,
         sums);
  launch(finish_kernel<Finish>, grid_of(c), at, c, parts.count, finish, sums);
}

// --- statistics ------------------------------------------------------------------------------------------------------

template <class T>
struct MomentTerm {  // from the first row: what is squared is then about as large as the deviation
  const T* x;
  __device__ Two operator()(int64_t at, int64_t i) const {
    const double d = convert<double>(x[at]) - convert<double>(x[i]);
    return {d, d * d};
  }
};

template <class T>
struct FinishMoments {
  const T* x;
  double rows, momentum, eps;
  Stat<T>*mean, *rstd, *running_mean, *running_var;

  __device__ void blend(Stat<T>& running, double now) const {
    const double old = double(running);
    running = Stat<T>(old + momentum * (now - old));
  }
  __device__ void operator()(const Two& sum, int64_t i) const {
    const double from_first = sum.a / rows, m = convert<double>(x[i]) + from_first;
    const double raw = sum.b / rows - from_first * from_first, var = raw > 0 ? raw : raw != raw ? raw : 0;
    mean[i] = Stat<T>(m);
    rstd[i] = Stat<T>(1 / std::sqrt(var + eps));
    blend(running_mean[i], m);
    blend(running_var[i], var * rows / (rows - 1));
  }
};

template <class T>
void moments(const op::BatchNormMoments& a, const ExecContext& at) {
  using S = Stat<T>;
  const T* const x = a.x.as<T>();
  reduce_channels(a.rows, a.c, MomentTerm<T>{x},
                  FinishMoments<T>{x, double(a.rows), a.momentum, a.eps, a.mean.as<S>(), a.rstd.as<S>(),
                                   a.running_mean.as<S>(), a.running_var.as<S>()},
                  at);
}

template <class S>
__global__ void rstd_kernel(int64_t c, const S* var, double eps, S* rstd) {
  for (int64_t i = thread_index(); i < c; i += thread_count()) rstd[i] = S(1 / std::sqrt(double(var[i]) + eps));
}

// --- apply -----------------------------------------------------------------------------------------------------------

template <class T>
struct Channels {
  int64_t c;
  const Stat<T>*mean, *rstd, *gamma, *beta;
};

template <class T>
__global__ void apply_kernel(int64_t n, Channels<T> ch, const T* x, const T* residual, bool relu, T* y) {
  for (int64_t at = thread_index(); at < n; at += thread_count()) {
    const int64_t i = at % ch.c;
    const double scale = double(ch.rstd[i]) * double(ch.gamma[i]);
    double v = (convert<double>(x[at]) - double(ch.mean[i])) * scale + double(ch.beta[i]);
    if (residual) v += convert<double>(residual[at]);
    y[at] = convert<T>(relu && v <= 0 ? 0 : v);
  }
}

template <class T>
void apply(const op::BatchNormApply& a, const ExecContext& at) {
  using S = Stat<T>;
  const int64_t n = a.rows * a.c;
  launch(apply_kernel<T>, grid_of(n), at, n,
         Channels<T>{a.c, a.mean.as<S>(), a.rstd.as<S>(), a.gamma.as<S>(), a.beta.as<S>()}, a.x.as<T>(),
         a.residual.as<T>(), a.relu, a.y.as<T>());
}

// --- gradients -------------------------------------------------------------------------------------------------------

template <class T>
struct Incoming {
  const T *x, *gy, *y;  // y null: no ReLU followed
  const Stat<T>*mean, *rstd;

  __device__ double gradient(int64_t at) const {
    return y && convert<double>(y[at]) <= 0 ? 0 : convert<double>(gy[at]);
  }
  __device__ double normalized(int64_t at, int64_t i) const {
    return (convert<double>(x[at]) - double(mean[i])) * double(rstd[i]);
  }
  __device__ Two operator()(int64_t at, int64_t i) const {
    const double g = gradient(at);
    return {g * normalized(at, i), g};
  }
};

template <class T>
struct FinishGradients {
  Stat<T>*ggamma, *gbeta;
  Two* exact;
  __device__ void operator()(const Two& sum, int64_t i) const {
    ggamma[i] = Stat<T>(sum.a);
    gbeta[i] = Stat<T>(sum.b);
    exact[i] = sum;
  }
};

template <class T>
__global__ void input_gradient_kernel(int64_t rows, int64_t c, Incoming<T> in, const Stat<T>* gamma, const Two* sums,
                                      bool training, T* gx, T* gresidual) {
  for (int64_t at = thread_index(); at < rows * c; at += thread_count()) {
    const int64_t i = at % c;
    double g = in.gradient(at);
    if (gresidual) gresidual[at] = convert<T>(g);
    if (training) g -= (sums[i].b + in.normalized(at, i) * sums[i].a) / double(rows);
    if (gx) gx[at] = convert<T>(g * double(gamma[i]) * double(in.rstd[i]));
  }
}

template <class T>
void bwd(const op::BatchNormBwd& a, const ExecContext& at) {
  using S = Stat<T>;
  const Incoming<T> in{a.x.as<T>(), a.gy.as<T>(), a.y.as<T>(), a.mean.as<S>(), a.rstd.as<S>()};
  Scratch<double> memory(2 * a.c, at);
  auto* const sums = reinterpret_cast<Two*>(memory.data());
  reduce_channels(a.rows, a.c, in, FinishGradients<T>{a.ggamma.as<S>(), a.gbeta.as<S>(), sums}, at);
  if (a.gx || a.gresidual)
    launch(input_gradient_kernel<T>, grid_of(a.rows * a.c), at, a.rows, a.c, in, a.gamma.as<S>(), sums, a.training,
           a.gx.as<T>(), a.gresidual.as<T>());
}

}  // namespace

constinit const Kernel<op::BatchNormMoments> batch_norm_moments{
    "own", kOwn, takes_all, [](const op::BatchNormMoments& a, const ExecContext& at) {
      with_floating(a.x.dtype, [&]<class T>() { moments<T>(a, at); });
    }};
constinit const Kernel<op::BatchNormRstd> batch_norm_rstd{
    "own", kOwn, takes_all, [](const op::BatchNormRstd& a, const ExecContext& at) {
      const int64_t c = a.var.size();
      if (a.var.dtype == DType::f64)
        launch(rstd_kernel<double>, grid_of(c), at, c, a.var.as<double>(), a.eps, a.rstd.as<double>());
      else
        launch(rstd_kernel<float>, grid_of(c), at, c, a.var.as<float>(), a.eps, a.rstd.as<float>());
    }};
constinit const Kernel<op::BatchNormApply> batch_norm_apply{
    "own", kOwn, takes_all, [](const op::BatchNormApply& a, const ExecContext& at) {
      with_floating(a.x.dtype, [&]<class T>() { apply<T>(a, at); });
    }};
constinit const Kernel<op::BatchNormBwd> batch_norm_bwd{"own", kOwn, takes_all,
                                                        [](const op::BatchNormBwd& a, const ExecContext& at) {
                                                          with_floating(a.x.dtype, [&]<class T>() { bwd<T>(a, at); });
                                                        }};

}  // namespace mininn::cuda::own
