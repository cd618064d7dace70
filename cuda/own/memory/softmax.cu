// A thread for each line.
#include "ops/softmax.h"

#include "cuda/launch.h"
#include "cuda/own/memory/kernels.h"
#include "ops/softmax_line.h"

namespace mininn::cuda::own {
namespace {

struct Lines {
  int64_t outer, n, inner;
  int64_t size() const { return n > 0 ? outer * inner : 0; }
};
// The first element of line i; its neighbours are `inner` apart.
__device__ inline int64_t line_offset(const Lines& l, int64_t i) { return i / l.inner * l.n * l.inner + i % l.inner; }

template <class T>
__global__ void softmax_kernel(Lines lines, int64_t count, bool log, const T* x, T* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t at = line_offset(lines, i);
    op::softmax_line(x + at, y + at, lines.n, lines.inner, log);
  }
}

template <class T>
__global__ void softmax_grad_kernel(Lines lines, int64_t count, bool log, const T* y, const T* gy, T* gx) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t at = line_offset(lines, i);
    if (log)
      op::log_softmax_line_grad(y + at, gy + at, gx + at, lines.n, lines.inner);
    else
      op::softmax_line_grad(y + at, gy + at, gx + at, lines.n, lines.inner);
  }
}

template <class T>
void fwd(const op::SoftmaxFwd& a, const ExecContext& at) {
  const Lines lines{a.outer, a.n, a.inner};
  launch(softmax_kernel<T>, grid_of(lines.size()), at, lines, lines.size(), a.log, a.x.as<T>(), a.y.as<T>());
}

template <class T>
void bwd(const op::SoftmaxBwd& a, const ExecContext& at) {
  const Lines lines{a.outer, a.n, a.inner};
  launch(softmax_grad_kernel<T>, grid_of(lines.size()), at, lines, lines.size(), a.log, a.y.as<T>(), a.gy.as<T>(),
         a.gx.as<T>());
}

}  // namespace

constinit const Kernel<op::SoftmaxFwd> softmax_fwd{"own", kOwn, takes_all,
                                                   [](const op::SoftmaxFwd& a, const ExecContext& at) {
                                                     with_floating(a.x.dtype, [&]<class T>() { fwd<T>(a, at); });
                                                   }};
constinit const Kernel<op::SoftmaxBwd> softmax_bwd{"own", kOwn, takes_all,
                                                   [](const op::SoftmaxBwd& a, const ExecContext& at) {
                                                     with_floating(a.y.dtype, [&]<class T>() { bwd<T>(a, at); });
                                                   }};

}  // namespace mininn::cuda::own
