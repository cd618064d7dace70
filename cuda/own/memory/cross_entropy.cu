// A thread for each row. A kernel cannot throw: a label outside of [0, c) makes the loss and the gradient NaN.
#include "ops/cross_entropy.h"

#include <limits>

#include "cuda/block_reduce.h"
#include "cuda/own/memory/kernels.h"
#include "cuda/scratch.h"
#include "ops/softmax_line.h"

namespace mininn::cuda::own {
namespace {

struct Rows {
  int64_t n, c;
  double smoothing;
};

__device__ inline double nan() { return std::numeric_limits<double>::quiet_NaN(); }

template <class T>
__global__ void rows_kernel(Rows r, const T* logits, const int64_t* labels, T* probs, double* losses) {
  for (int64_t i = thread_index(); i < r.n; i += thread_count()) {
    const int64_t label = labels[i];
    const double loss = op::cross_entropy_row(logits + i * r.c, probs + i * r.c, r.c, label, r.smoothing);
    losses[i] = label < 0 || label >= r.c ? nan() : loss;
  }
}

template <class T>
__global__ void mean_kernel(int64_t n, const double* losses, T* loss) {  // by one block
  __shared__ double shared[kThreads];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += losses[i];
  sum = reduce_columns(shared, sum, 1, Plus());
  if (threadIdx.x == 0) *loss = convert<T>(sum / double(n));
}

template <class T>
void fwd(const op::CrossEntropyFwd& a, const ExecContext& at) {
  Scratch<double> losses(a.n, at);
  launch(rows_kernel<T>, grid_of(a.n), at, Rows{a.n, a.c, a.label_smoothing}, a.logits.as<T>(), a.labels.as<int64_t>(),
         a.probs.as<T>(), losses.data());
  launch(mean_kernel<T>, {1}, at, a.n, losses.data(), a.loss.as<T>());
}

template <class T>
__global__ void rows_grad_kernel(Rows r, const T* probs, const int64_t* labels, const T* gy, T* gx) {
  for (int64_t i = thread_index(); i < r.n; i += thread_count()) {
    const int64_t label = labels[i];
    const bool known = label >= 0 && label < r.c;
    op::cross_entropy_row_grad(probs + i * r.c, gx + i * r.c, r.c, known ? label : 0, r.smoothing,
                               known ? convert<double>(*gy) / double(r.n) : nan());
  }
}

template <class T>
void bwd(const op::CrossEntropyBwd& a, const ExecContext& at) {
  launch(rows_grad_kernel<T>, grid_of(a.n), at, Rows{a.n, a.c, a.label_smoothing}, a.probs.as<T>(),
         a.labels.as<int64_t>(), a.gy.as<T>(), a.gx.as<T>());
}

Refusal check(DType t) {
  return t == DType::f32 || t == DType::f64 ? Refusal{} : Refusal{"the dtype is not f32 or f64"};
}

}  // namespace

constinit const Kernel<op::CrossEntropyFwd> cross_entropy_fwd{
    "own", kOwn, [](const op::CrossEntropyFwd& a) { return check(a.logits.dtype); },
    [](const op::CrossEntropyFwd& a, const ExecContext& at) {
      a.logits.dtype == DType::f64 ? fwd<double>(a, at) : fwd<float>(a, at);
    }};
constinit const Kernel<op::CrossEntropyBwd> cross_entropy_bwd{
    "own", kOwn, [](const op::CrossEntropyBwd& a) { return check(a.probs.dtype); },
    [](const op::CrossEntropyBwd& a, const ExecContext& at) {
      a.probs.dtype == DType::f64 ? bwd<double>(a, at) : bwd<float>(a, at);
    }};

}  // namespace mininn::cuda::own
