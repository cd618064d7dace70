#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"
#include "ops/softmax_line.h"

namespace mininn::cpu::ref {
namespace {

// fn(offset of the first element) for every line along n; its neighbours are `inner` apart.
template <class Args, class Fn>
void for_lines(const Args& a, const Fn& fn) {
  if (a.n == 0) return;
  parallel_for(a.outer * a.inner, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i / a.inner * a.n * a.inner + i % a.inner);
  });
}

template <class T>
void fwd(const op::SoftmaxFwd& a) {
  for_lines(a, [&](int64_t at) { op::softmax_line(a.x.as<T>() + at, a.y.as<T>() + at, a.n, a.inner, a.log); });
}

template <class T>
void bwd(const op::SoftmaxBwd& a) {
  const auto line = a.log ? op::log_softmax_line_grad<T> : op::softmax_line_grad<T>;
  for_lines(a, [&](int64_t at) { line(a.y.as<T>() + at, a.gy.as<T>() + at, a.gx.as<T>() + at, a.n, a.inner); });
}

Refusal check_fwd(const op::SoftmaxFwd& a) { return check_floating(a.x.dtype); }
Refusal check_bwd(const op::SoftmaxBwd& a) { return check_floating(a.y.dtype); }

void run_fwd(const op::SoftmaxFwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { fwd<T>(a); });
}
void run_bwd(const op::SoftmaxBwd& a, const ExecContext&) {
  with_floating(a.y.dtype, [&]<class T>() { bwd<T>(a); });
}

}  // namespace

constinit const Kernel<op::SoftmaxFwd> softmax_fwd{"ref", kReference, check_fwd, run_fwd};
constinit const Kernel<op::SoftmaxBwd> softmax_bwd{"ref", kReference, check_bwd, run_bwd};

}  // namespace mininn::cpu::ref
